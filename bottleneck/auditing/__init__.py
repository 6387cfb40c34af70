"""What a person should look at in a cache: duplicates, leaks, suspect labels, outliers."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
