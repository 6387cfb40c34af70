"""Generated codes of an early and a late layer, of images like those of a network or unlike them.

`late` and `early` say how far apart the classes lie at each layer, in standard deviations.
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tests.helpers.datasets import cache_of_layers

CLASSES = "abc"


def layered_cache(
    path: Path,
    n: int,
    *,
    early: float,
    late: float,
    d: int = 4,
    views: int = 1,
    copies: int = 1,
    seed: int = 0,
) -> Path:
    """A cache of n images of three classes with the layers layer1 and layer2.

    A fifth is the split test. Each image has as many copies, which are a group. The noise of each
    view is its own: their mean is nearer to the class.
    """
    random = np.random.default_rng(seed)
    classes = np.arange(n) % len(CLASSES)
    split = ["test" if i % 5 == 4 else "train" for i in range(n)]

    def codes(apart: float) -> list[NDArray[np.float32]]:
        centre = apart * np.eye(len(CLASSES), d)[classes]
        every = [(centre + random.normal(size=(n, d))).astype(np.float32) for _ in range(views)]
        return [np.repeat(view, copies, axis=0) for view in every]

    def repeated(values: list[str]) -> list[str]:
        return [value for value in values for _ in range(copies)]

    return cache_of_layers(
        path,
        {"layer1": codes(early), "layer2": codes(late)},
        repeated([CLASSES[k] for k in classes]),
        split=repeated(split),
        group=repeated([f"g{i}" for i in range(n)]) if copies > 1 else None,
        shard_size=500,
    )
