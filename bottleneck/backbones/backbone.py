"""Backbones: build a network, load its weights, freeze it, and know exactly which they were."""

import contextlib
import dataclasses
import importlib.util
import sys
import urllib.error
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
import torchvision
from torch import nn
from torch.overrides import TorchFunctionMode

from bottleneck.backbones.layers import Layer, list_layers, select_layers
from bottleneck.backbones.weights import (
    digest_weights,
    is_weights_file,
    load_weights,
    require_weights_file,
)
from bottleneck.errors import (
    USER_CODE_ERRORS,
    BackboneError,
    UnknownNameError,
    WeightsError,
    format_error,
)
from bottleneck.runtime.files import sha256
from bottleneck.spec import InputTransform, Source, validate_transform_fields

_SEED = 0  # `--weights none` is the same network every time


@dataclass(frozen=True)
class Backbone:
    """A frozen network and what identifies it.

    Attributes
    ----------
    network : nn.Module
        In eval mode, without gradients, float32, on the CPU.
    model : str
        Identity of the architecture, for the spec.
    weights_digest : str
        SHA-256 over names, types, shapes and bytes of the state dict as loaded.
    preprocess : InputTransform
        What the weights expect.
    source : Source
        How to load it again.
    """

    network: nn.Module
    model: str
    weights_digest: str
    preprocess: InputTransform
    source: Source

    @cached_property
    def layers(self) -> tuple[Layer, ...]:
        """Every layer, in the order of computation.

        Computed on first use, because it takes a forward pass. See
        `bottleneck.backbones.layers.list_layers`.
        """
        return tuple(list_layers(self.network, self.preprocess.crop))

    def select_layers(self, names: Sequence[str]) -> list[Layer]:
        """Return the layers of the given names, in the order of computation, each once.

        Raises
        ------
        UnknownNameError
            There is no such layer; the nearest names are suggested.
        """
        return select_layers(self.layers, names)

    def largest_code(self, names: Sequence[str], pool: str) -> int:
        """Return the number of values in the largest code among the given layers.

        Raises
        ------
        UnknownNameError
            There is no such layer.
        InvalidOptionError
            A layer does not support this pooling.
        """
        return max(layer.code_size(pool) for layer in self.select_layers(names))


def load_backbone(
    model: str, weights: str = "DEFAULT", *, preprocess: dict[str, Any] | None = None
) -> Backbone:
    """Load a frozen network.

    Parameters
    ----------
    model : str
        A torchvision classification model's name, or ``path/to/file.py:factory`` for a function
        that returns the network when called without arguments. That file is run: it is code.
        The network may say what input it expects in a dictionary `preprocess` of the fields of
        `bottleneck.spec.InputTransform`; else it is ImageNet's usual.
    weights : str
        ``"DEFAULT"``, a torchvision weights name, ``"none"`` (random, but the same every time),
        or a ``.pth`` or ``.safetensors`` file. For a factory, ``"DEFAULT"`` and
        ``"none"`` both mean the network as the factory returns it, seeded.
    preprocess : dict, optional
        Fields of `InputTransform` that replace those of the weights; None leaves one alone.

    Returns
    -------
    Backbone

    Raises
    ------
    UnknownNameError
        No model or weights of that name.
    BackboneError
        The factory cannot be loaded or gives no network.
    WeightsError
        The weights cannot be downloaded, read, or do not fit.
    InvalidOptionError
        A field of `preprocess` has a value that cannot be meant.
    """
    file, _, factory = model.rpartition(":")
    changes = validate_transform_fields(**(preprocess or {}))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(_SEED)
        if file:
            network, identity, preset = _from_file(Path(file), factory, weights)
        else:
            network, identity, preset = _from_torchvision(model, weights)
    network.eval().requires_grad_(False)
    return Backbone(
        network=network,
        model=identity,
        weights_digest=digest_weights(network),
        preprocess=dataclasses.replace(preset, **changes),
        source=Source(
            f"{Path(file).resolve()}:{factory}" if file else model,
            str(Path(weights).resolve()) if is_weights_file(weights) else weights,
        ),
    )


def build_skeleton(model: str, weights: str = "DEFAULT") -> tuple[nn.Module, InputTransform]:
    """A network without weights, to look at its layers: nothing is downloaded or computed.

    Parameters
    ----------
    model, weights : str
        As in `load_backbone`; the weights say only how large the input is.

    Returns
    -------
    network : nn.Module
        Frozen; on the meta device for torchvision's models.
    preprocess : InputTransform
        What the weights expect.
    """
    if ":" in model:
        backbone = load_backbone(model, "none")
        return backbone.network, backbone.preprocess
    _require_torchvision_name(model)
    if is_weights_file(weights):
        require_weights_file(Path(weights))
    named = weights != "none" and not is_weights_file(weights)
    entry = _weights_entry(model, weights) if named else _default_weights(model)
    with _ParametersOnMeta():
        network = _blank(model, entry).to("meta")
    return network.eval().requires_grad_(False), _preset(entry)


class _ParametersOnMeta(TorchFunctionMode):
    """Makes parameters without memory, and leaves alone what a builder computes with.

    ``torch.device("meta")`` does not: RegNet's builder reads numbers from its tensors.
    """

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        place = {"device": "meta"} if func is torch.empty else {}
        return func(*args, **{**(kwargs or {}), **place})


_Loaded = tuple[nn.Module, str, InputTransform]


# torchvision's models


def _from_torchvision(model: str, weights: str) -> _Loaded:
    _require_torchvision_name(model)
    if weights != "none" and not is_weights_file(weights):
        entry = _weights_entry(model, weights)
        return _download(model, entry), model, _preset(entry)
    entry = _default_weights(model)
    network = _blank(model, entry)
    if weights != "none":
        load_weights(network, Path(weights), model=model)
    _drop_training_heads(network)
    return network, model, _preset(entry)


def _require_torchvision_name(model: str) -> None:
    if Path(model).suffix == ".py":
        raise BackboneError(
            f"{model}: name the function in it that builds the network, {model}:NAME"
        )
    known = torchvision.models.list_models(module=torchvision.models)
    if model not in known:
        raise UnknownNameError(
            "model", model, known, "(or path/to/file.py:factory for a network of your own)"
        )


def _default_weights(model: str) -> Any:
    return torchvision.models.get_model_weights(model).DEFAULT


def _weights_entry(model: str, weights: str) -> Any:
    entries = torchvision.models.get_model_weights(model)
    known = ["DEFAULT", *(entry.name for entry in entries), "none"]
    if weights not in known:
        raise UnknownNameError(f"weights of {model}", weights, known, "(or a file)")
    return entries[weights]


def _drop_training_heads(network: Any) -> None:
    # What torchvision's builder of GoogLeNet does after loading; Inception keeps its head.
    if isinstance(network, torchvision.models.GoogLeNet):
        network.aux_logits, network.aux1, network.aux2 = False, None, None


def _download(model: str, entry: Any) -> nn.Module:
    try:
        with contextlib.redirect_stdout(sys.stderr):  # what torch.hub tells is no result of ours
            network: nn.Module = torchvision.models.get_model(model, weights=entry)
    except (urllib.error.URLError, OSError, RuntimeError) as error:
        name = entry.url.rsplit("/", 1)[-1]
        raise WeightsError(
            f"weights {entry.name} of {model} could not be loaded from {entry.url} "
            f"({format_error(error)}): put {name} into "
            f"{Path(torch.hub.get_dir()) / 'checkpoints'}, or give the file as `weights`"
        ) from error
    return network


def _preset(entry: Any) -> InputTransform:
    preset = entry.transforms()
    return InputTransform(
        resize=preset.resize_size[0],
        crop=preset.crop_size[0],
        mean=tuple(preset.mean),
        std=tuple(preset.std),
        interpolation=preset.interpolation.value,
    )


def _blank(model: str, entry: Any) -> nn.Module:
    """The network that torchvision builds for these weights, before it loads them."""
    options: dict[str, Any] = {}
    if model in ("googlenet", "inception_v3"):  # their builders set these: googlenet.py
        options = {"transform_input": True, "aux_logits": True, "init_weights": False}
    if model.startswith("vit_"):  # a position for each patch: vision_transformer.py
        options = {"image_size": entry.meta["min_size"][0]}
    network: nn.Module = torchvision.models.get_model(model, weights=None, **options)
    return network


# A file with a factory


def _from_file(file: Path, factory: str, weights: str) -> _Loaded:
    if not file.is_file():
        raise BackboneError(
            f"no file {file} to take the network's factory {factory!r} from: `model` is a "
            "torchvision name or path/to/file.py:factory"
        )
    network = _build(file, factory)
    if is_weights_file(weights):
        load_weights(network, Path(weights), model=f"{file.name}:{factory}")
    elif weights not in ("DEFAULT", "none"):
        raise UnknownNameError(
            f"weights of {file.name}", weights, ["DEFAULT", "none"], "(or a file)"
        )
    identity = f"{file.name}:{factory}@{sha256(file.read_bytes())[:16]}"
    return network, identity, _own_preprocess(network, file)


def _build(file: Path, factory: str) -> nn.Module:
    module = _run_file(file)
    build = getattr(module, factory, None)
    if not callable(build):
        own = (name for name, value in vars(module).items() if _defined_in(value, module))
        known = [name for name in own if not name.startswith("_")]
        raise UnknownNameError(f"factory in {file}", factory, known)
    try:
        network = build()
    except USER_CODE_ERRORS as error:
        raise BackboneError(f"{file}:{factory}() failed: {format_error(error)}") from error
    if not isinstance(network, nn.Module):
        raise BackboneError(
            f"{file}:{factory}() must return a torch.nn.Module, got {type(network).__name__}"
        )
    return network


def _own_preprocess(network: nn.Module, file: Path) -> InputTransform:
    """What the network says of its input in a dictionary `preprocess`, or ImageNet's usual."""
    fields = getattr(network, "preprocess", None)
    if not isinstance(fields, dict):
        return InputTransform()  # no such attribute, or a method of that name
    known = [field.name for field in dataclasses.fields(InputTransform)]
    for name in fields:
        if name not in known:
            raise UnknownNameError(f"field of the network's preprocess in {file}", name, known)
    return InputTransform(**validate_transform_fields(**fields))


def _defined_in(value: object, module: ModuleType) -> bool:
    return callable(value) and getattr(value, "__module__", "") == module.__name__


def _run_file(file: Path) -> ModuleType:
    name = f"bottleneck_model_{file.stem}"
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise BackboneError(f"{file} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses and pickling look a class's module up there
    try:
        spec.loader.exec_module(module)
    except USER_CODE_ERRORS as error:
        raise BackboneError(f"{file} cannot be imported: {format_error(error)}") from error
    return module
