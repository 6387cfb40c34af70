"""Import modules that only decorate functions for PyTorch's compiler, without the compiler."""

import inspect
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial, wraps
from typing import Any

import torch

_Function = Callable[..., Any]


@contextmanager
def deferred_compiler() -> Iterator[None]:
    """Let `torch.compiler.disable` in this block import the compiler at a function's first call.

    PyTorch imports it for a function that is not to be compiled: ``torch._dynamo``, more than a
    second. timm has five such functions, all in networks of one kind.

    Examples
    --------
    >>> with deferred_compiler():
    ...     @torch.compiler.disable
    ...     def double(x):
    ...         return 2 * x
    >>> double(3)
    6
    """
    original: Any = torch.compiler.disable
    if "torch._dynamo" not in sys.modules:
        torch.compiler.disable = partial(_disable_later, original)
    try:
        yield
    finally:
        torch.compiler.disable = original


def _disable_later(
    disable: _Function, function: _Function | None = None, *rest: Any, **options: Any
) -> _Function:
    """Disable a function for the compiler as `torch.compiler.disable` does, when it is called."""
    if function is None:
        return lambda given: _disable_later(disable, given, *rest, **options)
    if not inspect.isfunction(function):  # a wrapper would make a class a function
        disabled: _Function = disable(function, *rest, **options)
        return disabled
    known: list[_Function] = []  # not `functools.cache`, through which the compiler does not see

    @wraps(function)
    def call(*arguments: Any, **keywords: Any) -> Any:
        if not known:
            known.append(disable(function, *rest, **options))
        return known[0](*arguments, **keywords)

    return call
