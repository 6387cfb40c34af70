"""A factory function in a Python file as a source of networks."""

import contextlib
import importlib.util
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, cast

from torch import nn

from bottleneck.backbones.sources.inspection.declared_input import declared_transform
from bottleneck.backbones.sources.inspection.torchscript import open_torchscript
from bottleneck.backbones.sources.user_files.own_modules import OwnModules
from bottleneck.backbones.sources.weights import require_own_weights
from bottleneck.backbones.user_code import errors_in_one_line
from bottleneck.errors import BackboneError, UnknownNameError
from bottleneck.input_transform import InputTransform


@dataclass(frozen=True)
class PythonFile:
    """A function in a Python file that returns a network when called without arguments.

    The file is executed, with its folder as the first in which modules are looked for. What it
    imports from there, or from a folder of PYTHONPATH, is part of the network's identity.

    Attributes
    ----------
    file : Path
    factory : str
        Name of the function, or of an `nn.Module` subclass.

    Raises
    ------
    BackboneError
        There is no such file.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file = Path(folder) / "mine.py"
    ...     _ = file.write_text("from torch.nn import Conv2d; build = lambda: Conv2d(3, 8, 3)")
    ...     network, identity, transform = PythonFile(file, "build").build("none")
    >>> network, identity.partition("@")[0], transform.crop
    (Conv2d(3, 8, kernel_size=(3, 3), stride=(1, 1)), 'mine.py:build', 224)
    """

    file: Path
    factory: str

    def __post_init__(self) -> None:
        if not self.file.is_file():
            raise BackboneError(
                f"no file {self.file} to take the network's factory {self.factory!r} from: "
                "`model` is a torchvision name or path/to/file.py:factory"
            )

    @property
    def reference(self) -> str:
        """The file's absolute path and the factory: ``/path/to/file.py:factory``."""
        return f"{self.file.resolve()}:{self.factory}"

    def build(self, weights: str) -> tuple[nn.Module, str, InputTransform]:
        """Call the factory; see `ModelSource`.

        Parameters
        ----------
        weights : str
            A weights file; or ``"DEFAULT"`` or ``"none"``, which both mean the network as the
            factory returns it.

        Raises
        ------
        BackboneError
            The file or the factory fails, or the factory does not return a network.
        UnknownNameError
            The file has no such factory, or `weights` is something else.
        """
        require_own_weights(weights, model=f"{self.file.name}:{self.factory}")
        # The file may change the working directory, and the user's own paths are relative to it.
        with contextlib.chdir("."), OwnModules(self.file) as own:
            network = self._build_network()
        network = open_torchscript(network)
        identity = f"{self.file.name}:{self.factory}@{own.digest()[:16]}"
        return network, identity, declared_transform(network, where=str(self.file))

    def published_files(self, weights: str) -> None:
        """Return that they are not known: code may read any; see `ModelSource`."""

    def build_skeleton(self, weights: str) -> tuple[nn.Module, InputTransform]:
        """Call the factory; see `ModelSource`."""
        network, _, transform = self.build(weights)
        return network, transform

    def _build_network(self) -> nn.Module:
        factory = self._find_factory(_run_file(self.file))
        with errors_in_one_line(f"{self.file}:{self.factory}() failed"):
            network = factory()
        if not isinstance(network, nn.Module):
            raise BackboneError(
                f"{self.file}:{self.factory}() must return a torch.nn.Module, "
                f"got {type(network).__name__}"
            )
        return network

    def _find_factory(self, module: ModuleType) -> Callable[[], Any]:
        factory = getattr(module, self.factory, None)
        if isinstance(factory, nn.Module):
            raise BackboneError(
                f"{self.file}:{self.factory} is a network, and must be a function that returns one",
                hint=f"write def build(): return {self.factory}, and name build",
            )
        if callable(factory):
            return cast("Callable[[], Any]", factory)
        own = (name for name, value in vars(module).items() if _is_defined_in(value, module))
        known = [name for name in own if not name.startswith("_")]
        raise UnknownNameError("factory", self.factory, known, of=self.file)


def _is_defined_in(value: object, module: ModuleType) -> bool:
    return callable(value) and getattr(value, "__module__", "") == module.__name__


def _run_file(file: Path) -> ModuleType:
    name = f"bottleneck_model_{file.stem}"
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise BackboneError(f"{file} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses and pickling look a class's module up there
    with errors_in_one_line(f"{file} cannot be imported"):
        spec.loader.exec_module(module)
    return module
