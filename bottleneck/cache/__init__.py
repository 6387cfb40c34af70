"""The directory of codes on disk: manifest, shards, reading, status, update, verification."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
