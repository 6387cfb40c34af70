"""Cached codes to a head: datasets, folds, the choice of C, metrics, sweeps.

In the order of their imports: `scoring` says how good decision values are, `selection` chooses C
and the scaling by it, and `loading` opens the codes and targets that both need. `heads` keeps what
was fitted, and judges images with it. `plotting` draws the results.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
