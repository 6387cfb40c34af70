"""Training of the layers after a cached one: batches, start, learning rate, checkpoints."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
