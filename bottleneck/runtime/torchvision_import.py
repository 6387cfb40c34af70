"""Import torchvision, and leave PyTorch's compiler to those who compile.

`torchvision.ops.roi_align` imports a function from ``torch._dynamo``, which it calls where it
compiles itself. That one line takes nine tenths of the import of torchvision, 1.2 s, and brings
800 modules. All modules take torchvision from here:

    from bottleneck.runtime import torchvision
"""

import sys
from importlib import import_module
from types import ModuleType
from typing import Any

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


def _import() -> ModuleType:
    deferred = _DeferredCompiler(_COMPILER)
    sys.modules.setdefault(_COMPILER, deferred)
    try:
        import torchvision as imported
    finally:
        if sys.modules.get(_COMPILER) is deferred:
            del sys.modules[_COMPILER]
    module: ModuleType = imported
    return module


torchvision: Any = _import()
