"""Model sources: the protocol that every kind of network implements, and the choice of one."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from torch import nn

from bottleneck.backbones.sources.given_module import PREFIX, GivenModule
from bottleneck.backbones.sources.python_file import PythonFile
from bottleneck.backbones.sources.timm_models import HUB_PREFIX, TIMM_PREFIX, TimmModel
from bottleneck.backbones.sources.torchvision_models import TorchvisionModel
from bottleneck.errors import BackboneError, InvalidOptionError
from bottleneck.input_transform import InputTransform


class ModelSource(Protocol):
    """A way to build a network."""

    @property
    def reference(self) -> str:
        """What `load_backbone` takes to load the network again, with absolute paths."""

    def build(self, weights: str) -> tuple[nn.Module, str, InputTransform]:
        """Build the network, with published weights if these are named.

        The caller seeds PyTorch before. Afterwards it loads a weights file, and freezes the
        network.

        Parameters
        ----------
        weights : str
            ``"DEFAULT"``, ``"none"``, a name that the source knows, or a weights file, which the
            caller loads.

        Returns
        -------
        network : nn.Module
            In float32 on the CPU; no other object refers to it.
        identity : str
            Identity of the architecture, for the spec.
        transform : InputTransform
            What the weights expect.
        """

    def published_files(self, weights: str) -> Sequence[Path] | None:
        """Return the files that decide the network, beside `weights` and the code of libraries.

        None if others may: the network is always loaded then, and never recalled.
        """

    def build_skeleton(self, weights: str) -> tuple[nn.Module, InputTransform]:
        """Build the network to list its layers, without loading weights.

        Returns
        -------
        network : nn.Module
            On the meta device where the source can do that.
        transform : InputTransform
            What the weights expect.
        """


def find_source(model: str | nn.Module) -> ModelSource:
    """Return the source of a network.

    Parameters
    ----------
    model : str or nn.Module
        A torchvision classification model's name; ``timm:NAME`` or ``timm:NAME.TAG``;
        ``hf-hub:org/name``; ``path/to/file.py:factory``; or a network.

    Raises
    ------
    UnknownNameError
        No model of that name.
    BackboneError
        There is no such file; or `model` is the reference of a network that was given as an
        object.
    InvalidOptionError
        `model` is of another type.

    Examples
    --------
    >>> find_source("resnet18")
    TorchvisionModel(name='resnet18')
    >>> from torch import nn
    >>> find_source(nn.Conv2d(3, 8, 3)).reference
    'module:Conv2d'
    """
    if isinstance(model, nn.Module):
        return GivenModule(model)
    if not isinstance(model, str):
        raise InvalidOptionError(
            "model",
            model,
            "a torchvision name, timm:NAME, hf-hub:ORG/NAME, path/to/file.py:factory, or a "
            "torch.nn.Module",
        )
    if model.startswith(PREFIX):
        raise BackboneError(
            f"{model} is a network that was given as an object, which cannot be loaded from here",
            hint="give the same network again as `model`; workers need path/to/file.py:factory",
        )
    if model.startswith((TIMM_PREFIX, HUB_PREFIX)):
        return TimmModel(model.removeprefix(TIMM_PREFIX))
    file, _, factory = model.rpartition(":")
    return PythonFile(Path(file), factory) if file else TorchvisionModel(model)
