"""Which strategy a cache's measurements recommend: layers, views, or training the network."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
