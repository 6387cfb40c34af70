"""Images to codes to shards: what is missing, made here or by workers; planning, repair.

In the order of their imports: `planning` finds the shards that are missing, and what they will
take. `encoding` makes codes of images. `setup` chooses what decides the codes of a run, and
`running` writes its shards, here or by workers.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
