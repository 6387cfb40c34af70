"""Cached codes to a head: datasets, folds, the choice of C, metrics, sweeps."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
