"""What a module returns: a tensor, or tuples, lists, dictionaries and dataclasses of tensors."""

import dataclasses
from collections.abc import Iterator, Mapping
from functools import reduce
from typing import Any

from torch import Tensor

OutputPath = tuple[int | str, ...]


def find_tensors(output: Any) -> Iterator[tuple[OutputPath, Tensor]]:
    """Yield every tensor in a module's output, with the keys that lead to it.

    Parameters
    ----------
    output : object
        A tensor, or tuples, lists, mappings (``transformers.utils.ModelOutput`` is one) and
        dataclasses of them. What else is in it is passed over.

    Yields
    ------
    path : tuple of int or str
        Empty if `output` is a tensor.
    tensor : Tensor

    Examples
    --------
    >>> import torch
    >>> a, b = torch.zeros(2), torch.ones(2)
    >>> [path for path, _ in find_tensors({"map": a, "rest": (None, b)})]
    [('map',), ('rest', 1)]
    """
    if isinstance(output, Tensor):
        yield (), output
        return
    for key, value in _items(output):
        for path, tensor in find_tensors(value):
            yield (key, *path), tensor


def follow(output: Any, path: OutputPath) -> Any:
    """Return the tensor of a path in a module's output.

    Parameters
    ----------
    output : object
        What the module returned; or, while it is traced, the symbol of that.
    path : tuple of int or str
        As from `find_tensors`.

    Examples
    --------
    >>> follow({"map": (1, 2)}, ("map", 1))
    2
    """
    return reduce(_step, path, output)


def format_path(path: OutputPath) -> str:
    """Return the suffix of a layer's name for a path: its keys, a colon before each.

    Examples
    --------
    >>> format_path(("map", 1))
    ':map:1'
    """
    return "".join(f":{key}" for key in path)


def _items(output: Any) -> Iterator[tuple[int | str, Any]]:
    if isinstance(output, Mapping):
        yield from output.items()
    elif isinstance(output, (tuple, list)):
        yield from enumerate(output)
    elif dataclasses.is_dataclass(output) and not isinstance(output, type):
        yield from (
            (field.name, getattr(output, field.name)) for field in dataclasses.fields(output)
        )


def _step(value: Any, key: int | str) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, Mapping):
        return getattr(value, str(key))
    return value[key]
