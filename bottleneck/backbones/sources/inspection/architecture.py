"""Digest of a network's architecture: the classes, code and settings that are not weights."""

import dataclasses
import functools
import inspect
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from types import CellType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.jit import ScriptModule

from bottleneck.backbones.user_code import is_library
from bottleneck.runtime import sha256

_STATE_OF_EVERY_MODULE = frozenset(vars(nn.Module()))  # `training`, parameters, hooks …
# What belongs to weights and their input, and timm's records of how a network was made.
_RECORDS = {"preprocess", "pretrained_cfg", "default_cfg", "_traits", "_model_args"}
_NOT_ARCHITECTURE = _STATE_OF_EVERY_MODULE | _RECORDS
_PLAIN = (bool, int, float, complex, str, bytes, torch.dtype, torch.device, type(None))


def architecture_digest(network: nn.Module) -> str:
    """Return the SHA-256 of what decides a network's outputs beside its weights.

    Covers the names and classes of its modules, their settings, buffers that are not in the state
    dict, hooks, the programs of TorchScript, and the source code of classes that are not PyTorch's.
    A user's functions count with the constants of their closures, those among settings and hooks
    with their defaults too.
    Code that these classes call elsewhere is not covered.

    Examples
    --------
    >>> from torch import nn
    >>> digests = {architecture_digest(nn.Conv2d(3, 8, 3, padding=k)) for k in (0, 1, 1)}
    >>> len(digests)
    2
    """
    lines: list[str] = []
    classes: dict[type, None] = {}  # each once, in the order of first use
    for name, module in network.named_modules(remove_duplicate=False):
        lines.append(f"{name}: {type(module).__qualname__}")
        lines += _settings(module)
        if isinstance(module, ScriptModule):  # its class is that of all programs
            lines.append(str(getattr(module, "code", "")))
        classes[type(module)] = None
    sources = dict.fromkeys(code for cls in classes for code in _class_code(cls))
    return sha256("\n".join([*lines, *sources]).encode())


def _settings(module: nn.Module) -> Iterator[str]:
    private = not _is_pytorch(type(module))  # PyTorch's private attributes change with versions
    for key, value in sorted(vars(module).items()):
        if key not in _NOT_ARCHITECTURE and (private or not key.startswith("_")):
            yield f"  {key} = {describe_value(value)}"
    for key in sorted(module._non_persistent_buffers_set):
        yield f"  {key} = {describe_value(module._buffers[key])}"
    for hooks in (module._forward_pre_hooks, module._forward_hooks):
        yield from (f"  hook {describe_value(hook)}" for hook in hooks.values())


@functools.singledispatch
def describe_value(value: Any) -> str:
    """Describe a value by a text that is the same in every process; of an object, its class alone.

    Examples
    --------
    >>> describe_value({"depth": 3, "pads": (1, None)})
    "{'depth': 3, 'pads': [1, None]}"
    """
    if isinstance(value, _PLAIN):
        return repr(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return f"{type(value).__qualname__} {describe_value(vars(value))}"
    if hasattr(value, "__code__") or hasattr(value, "__func__"):
        return _function_code(value) + _closure(value) + _defaults(value)
    return str(getattr(value, "__qualname__", type(value).__qualname__))


@describe_value.register(list)
@describe_value.register(tuple)
def _(value: Sequence[Any]) -> str:
    return f"[{', '.join(map(describe_value, value))}]"


@describe_value.register(set)
@describe_value.register(frozenset)
def _(value: frozenset[Any]) -> str:
    return f"{{{', '.join(sorted(map(describe_value, value)))}}}"


@describe_value.register(dict)
def _(value: dict[Any, Any]) -> str:
    items = (f"{describe_value(key)}: {describe_value(item)}" for key, item in value.items())
    return f"{{{', '.join(sorted(items))}}}"


@describe_value.register(Tensor)
def _(value: Tensor) -> str:
    if value.is_quantized:
        scales = _scales(value)
        return f"{value.dtype} {describe_value(value.int_repr())} {describe_value(scales)}"
    if value.layout is not torch.strided:
        return f"{value.layout} {describe_value(value.detach().to_dense())}"
    return f"{value.dtype} {tuple(value.shape)} {sha256(tensor_bytes(value))}"


def tensor_bytes(value: Tensor) -> memoryview:
    """Return the bytes of a plain tensor's numbers, in the order of its axes.

    Examples
    --------
    >>> list(tensor_bytes(torch.tensor([[1, 2], [3, 4]], dtype=torch.uint8).T))
    [1, 3, 2, 4]
    """
    numbers: Any = value.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
    return memoryview(numbers.numpy())


def _scales(value: Tensor) -> tuple[Any, ...]:
    """Return what turns the integers of a quantised tensor into numbers."""
    if value.qscheme() in (torch.per_tensor_affine, torch.per_tensor_symmetric):
        return value.q_scale(), value.q_zero_point()
    axis = value.q_per_channel_axis()
    return value.q_per_channel_scales(), value.q_per_channel_zero_points(), axis


@describe_value.register(np.ndarray)
def _(value: np.ndarray[Any, Any]) -> str:
    return f"{value.dtype} {value.shape} {sha256(value.tobytes())}"


@describe_value.register(functools.partial)
def _(value: functools.partial[Any]) -> str:
    return describe_value((value.func, value.args, value.keywords))


def _class_code(cls: type) -> Iterator[str]:
    """Yield the functions and plain attributes of a class and its bases, without PyTorch's."""
    for base in cls.__mro__:
        if _is_pytorch(base) or base is object:
            continue
        for key, value in sorted(vars(base).items()):
            function = getattr(value, "fget", None) or getattr(value, "__func__", value)
            if inspect.isfunction(function):
                yield f"{base.__qualname__}.{key}: {_function_code(function)}{_closure(function)}"
            elif isinstance(value, _PLAIN) and not key.startswith("__"):
                yield f"{base.__qualname__}.{key} = {value!r}"


def _function_code(function: Callable[..., Any]) -> str:
    if _is_pytorch(function):
        return function.__qualname__
    try:
        return inspect.getsource(function)
    except (OSError, TypeError):  # defined in an interactive session, whose lines are not kept
        code = inspect.unwrap(getattr(function, "__func__", function)).__code__
        constants = [value for value in code.co_consts if isinstance(value, _PLAIN)]
        return f"{code.co_code.hex()} {code.co_names} {constants}"


def _closure(function: Any) -> str:
    """Describe what a user's function takes from the function around it."""
    function = _user_function(function)
    if function is None:
        return ""
    cells = zip(function.__code__.co_freevars, function.__closure__ or (), strict=True)
    return _constants((name, cell.cell_contents) for name, cell in cells if cell != CellType())


def _defaults(function: Any) -> str:
    """Describe the defaults of a user's function."""
    function = _user_function(function)
    if function is None:
        return ""
    return _constants(
        [*enumerate(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).items()]
    )


def _user_function(value: Any) -> Any:
    """Return the function itself; None if it is no Python, or of an installed package."""
    function = getattr(value, "__func__", value)
    code = getattr(function, "__code__", None)
    return None if code is None or is_library(Path(code.co_filename)) else function


def _constants(values: Iterable[tuple[Any, Any]]) -> str:
    """Describe constants alone: others may be where a network keeps what it computes."""
    return "".join(
        f" {name}={describe_value(value)}" for name, value in values if _is_constant(value)
    )


def _is_constant(value: Any) -> bool:
    if isinstance(value, tuple):
        return all(map(_is_constant, value))
    return isinstance(value, (*_PLAIN, Tensor))


def _is_pytorch(value: Any) -> bool:
    module = getattr(value, "__module__", None) or ""
    return module.partition(".")[0] in ("torch", "torchvision")
