"""Measure the values of images deeper than 8 bits, on a sample of a data set."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bottleneck.data.decoding.deep import sample_values
from bottleneck.data.image_source import ImageSource
from bottleneck.errors import ImageError

# The limits of a range found by itself. A few hot or dead pixels of a camera lie outside.
PERCENTILES = (0.1, 99.9)

_SEED = 0  # every task of an array draws the same sample
_PIXELS = 10_000  # of an image
_BLACK = 1 << 12  # 16-bit values below are black, or nearly, by their high byte


@dataclass(frozen=True)
class PixelDepth:
    """What a sample of images says about pixels deeper than 8 bits.

    Attributes
    ----------
    tried : int
        Images of the sample that were opened.
    deep : int
        Those whose pixels are deeper than 8 bits.
    floating : int
        Those of them whose pixels are floating-point numbers.
    limits : tuple of 2 float, or None
        Percentiles 0.1 and 99.9 of the values of deep images, at most 10 000 of each; where these
        are equal, the second is greater by 1. None if there are none.
    """

    tried: int
    deep: int
    floating: int
    limits: tuple[float, float] | None

    @property
    def looks_black(self) -> bool:
        """Whether the high byte of 16-bit values leaves next to nothing: 12-bit data, or less."""
        return self.limits is not None and not self.floating and self.limits[1] < _BLACK


def measure_depth(source: ImageSource, images: int) -> PixelDepth:
    """Open some images, and measure the values of those whose pixels are deeper than 8 bits.

    Of other images only the header is parsed. What cannot be read or decoded is left out.

    Parameters
    ----------
    source : ImageSource
    images : int
        Size of the sample, which is drawn with a fixed seed.

    Returns
    -------
    PixelDepth

    Examples
    --------
    >>> from bottleneck.data.images import open_images
    >>> measure_depth(open_images("data/digits"), 5)
    PixelDepth(tried=5, deep=0, floating=0, limits=None)
    """
    exists = np.flatnonzero(source.table.exists)
    draw = np.random.default_rng(_SEED)
    rows = np.sort(draw.permutation(exists)[:images])
    tried, floating = 0, 0
    samples: list[NDArray[np.float64]] = []
    for row in rows.tolist():
        try:
            values = sample_values(source.read(row))
        except ImageError:
            continue
        tried += 1
        if values is not None:
            floating += values.dtype.kind == "f"
            finite = values[np.isfinite(values)].ravel()
            samples.append(draw.choice(finite, min(len(finite), _PIXELS)).astype(np.float64))
    return PixelDepth(tried, len(samples), floating, _limits(samples))


def _limits(samples: list[NDArray[np.float64]]) -> tuple[float, float] | None:
    values = np.concatenate([np.empty(0), *samples])
    if not len(values):
        return None
    # Values that occur: a range of 16-bit images is of whole numbers.
    low = float(np.percentile(values, PERCENTILES[0], method="lower"))
    high = float(np.percentile(values, PERCENTILES[1], method="higher"))
    return low, high if high > low else low + 1
