"""Frozen networks: where they come from, their layers, truncation, tracing, batches.

In the order of their imports: `sources` builds a network that is named, `layers` lists its layers
and takes their codes, and `checkpoints` loads a weights file into it. `probing` runs it as it is,
`tracing` makes a faster program of it, and `cutting` one to train of what is behind a layer. A
`backbone` is all of that. `inference` runs it on batches.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
