"""One HTML page about a cache and a head: what is right, what is wrong, and what to look at."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
