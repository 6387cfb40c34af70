"""Import PyTorch's formulas for counting operations, and leave Triton to those who use it.

`torch.utils.flop_counter` imports Triton, for a quarter of a second, only to recognise its kernels.
"""

import sys
from types import ModuleType

from bottleneck.runtime import stand_in

__all__ = ["flop_registry"]

_TRITON = "triton.runtime.jit"


class _KernelType(type):
    """Recognise Triton's kernels; there are none as long as nobody imports it."""

    def __instancecheck__(cls, instance: object) -> bool:
        kernel = getattr(sys.modules.get(_TRITON), "JITFunction", cls)
        return kernel is not cls and isinstance(instance, kernel)


class _Kernel(metaclass=_KernelType):
    """Stand for `triton.runtime.jit.JITFunction`, and have its instances."""


class _DeferredTriton(ModuleType):
    """Stand for the module of Triton while PyTorch imports a name from it."""

    JITFunction = _Kernel


with stand_in(_DeferredTriton(_TRITON)):
    from torch.utils.flop_counter import flop_registry
