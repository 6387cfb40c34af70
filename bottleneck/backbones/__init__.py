"""Frozen networks: where they come from, their layers, truncation, tracing, batches."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
