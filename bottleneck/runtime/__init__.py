"""What a process gets from machine and scheduler: files, timing, devices, executors, shutdown."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
