"""Import torchvision's functions of images without PyTorch's compiler, which they hardly need.

Their module decorates some functions for the compiler. None of these is called here, and importing
the compiler takes 1.7 s. As a module, this is imported by one thread at a time.
"""

from importlib import import_module
from typing import Any

from bottleneck.runtime.imports.deferred_compiler import deferred_compiler
from bottleneck.runtime.imports.torchvision_import import torchvision

with deferred_compiler():
    import_module("torchvision.transforms.v2")

torchvision_functional: Any = torchvision.transforms.v2.functional
