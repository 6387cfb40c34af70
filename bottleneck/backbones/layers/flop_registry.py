"""Import PyTorch's formulas for counting operations, without Triton.

`torch.utils.flop_counter` imports Triton, for a quarter of a second, only to recognise its kernels.
"""

import sys
from types import ModuleType

from bottleneck.runtime import stand_in

__all__ = ["flop_registry"]

_TRITON = "triton.runtime.jit"


class _KernelType(type):
    """Recognise Triton's kernels. There are none before something else has imported Triton."""

    def __instancecheck__(cls, instance: object) -> bool:
        kernel = getattr(sys.modules.get(_TRITON), "JITFunction", cls)
        return kernel is not cls and isinstance(instance, kernel)


class _Kernel(metaclass=_KernelType):
    """Replace `triton.runtime.jit.JITFunction` in instance checks."""


class _DeferredTriton(ModuleType):
    """Replace the module of Triton while PyTorch imports a name from it."""

    JITFunction = _Kernel


with stand_in(_DeferredTriton(_TRITON)):
    from torch.utils.flop_counter import flop_registry
