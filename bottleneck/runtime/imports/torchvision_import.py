"""Import torchvision without PyTorch's compiler, which nothing here uses.

`torchvision.ops.roi_align` imports a function from ``torch._dynamo``, which it calls where it
compiles itself. That one line takes nine tenths of the import of torchvision, 1.2 s, and brings
800 modules. All modules take torchvision from here:

    from bottleneck.runtime import torchvision
"""

import sys
from importlib import import_module
from types import ModuleType
from typing import Any

from bottleneck.runtime.imports.stand_ins import stand_in

_COMPILER = "torch._dynamo.utils"


class _DeferredCompiler(ModuleType):
    """Stand for the module of the compiler, and import it once something of it is used."""

    def is_compile_supported(self, device_type: str) -> bool:
        """Call the function of this name."""
        return bool(self.__getattr__("is_compile_supported")(device_type))

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # `inspect` asks every module for its file
            raise AttributeError(name)
        if sys.modules.get(_COMPILER) is self:
            del sys.modules[_COMPILER]
        return getattr(import_module(_COMPILER), name)


with stand_in(_DeferredCompiler(_COMPILER)):
    import torchvision as _torchvision

torchvision: Any = _torchvision
