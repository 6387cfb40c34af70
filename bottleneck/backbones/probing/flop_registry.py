"""Import PyTorch's formulas for counting operations, and leave Triton to those who use it.

`torch.utils.flop_counter` imports Triton, for a quarter of a second, only to recognise its kernels.
"""

import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

_TRITON = "triton.runtime.jit"


class _KernelType(type):
    """Type of a class that stands for Triton's kernels; as long as nobody imports it, none."""

    def __instancecheck__(cls, instance: object) -> bool:
        kernel = getattr(sys.modules.get(_TRITON), "JITFunction", cls)
        return kernel is not cls and isinstance(instance, kernel)


class _Kernel(metaclass=_KernelType):
    """Have the instances of `triton.runtime.jit.JITFunction`."""


class _DeferredTriton(ModuleType):
    """Stand for the module of Triton while PyTorch imports a name from it."""

    JITFunction = _Kernel


def _import() -> dict[Any, Callable[..., int]]:
    deferred = _DeferredTriton(_TRITON)
    sys.modules.setdefault(_TRITON, deferred)
    try:
        from torch.utils.flop_counter import flop_registry as imported
    finally:
        if sys.modules.get(_TRITON) is deferred:
            del sys.modules[_TRITON]
    return imported


flop_registry = _import()
