"""Tables of images that do not exist."""

from collections.abc import Iterable

import numpy as np
import pytest
from numpy.typing import NDArray

from bottleneck.data.labels import class_names
from bottleneck.data.table.image_table import ImageTable


def table(
    *labels: str,
    path: Iterable[str] = (),
    split: Iterable[str] = (),
    group: Iterable[str] = (),
    size: Iterable[int] = (),
) -> ImageTable:
    """Images 0.jpg, 1.jpg, … with these labels."""
    n = len(labels)
    return ImageTable(
        path=list(path) or [f"{i}.jpg" for i in range(n)],
        label=list(labels),
        split=list(split) or [""] * n,
        group=list(group) or [""] * n,
        size=np.array(list(size) or [1] * n, dtype=np.int64),
        mtime_ns=np.arange(n, dtype=np.int64),
    )


def every(images: ImageTable) -> NDArray[np.int64]:
    return np.arange(len(images))


def names_of(*labels: str) -> list[str]:
    images = table(*labels)
    return class_names(images, every(images), split="")


def one_line(error: pytest.ExceptionInfo[Exception]) -> bool:
    return "\n" not in str(error.value)
