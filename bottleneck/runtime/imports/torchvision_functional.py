"""Import torchvision's functions of images, and leave PyTorch's compiler to those who compile.

Their module decorates some of them for the compiler, of which none is called here. That would take
the whole of the compiler's import, 1.7 s. As a module, this is imported by one thread at a time.
"""

from importlib import import_module
from typing import Any

from bottleneck.runtime.imports.deferred_compiler import deferred_compiler
from bottleneck.runtime.imports.torchvision_import import torchvision

with deferred_compiler():
    import_module("torchvision.transforms.v2")

torchvision_functional: Any = torchvision.transforms.v2.functional
