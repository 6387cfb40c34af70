"""Images to check an exported file with, where the user gives none: generated from a seed."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from bottleneck.data import ImageTable
from bottleneck.input_transform import InputTransform

_COUNT = 8
_WAVES = 6


@dataclass(frozen=True)
class GeneratedImages:
    """Noise, and photograph-like sums of waves with edges, of several sizes: a source of images.

    Parameters
    ----------
    transform : InputTransform
        Sizes are around those that it resizes to.
    seed : int

    Attributes
    ----------
    table : ImageTable

    Examples
    --------
    >>> from bottleneck.data import decode_image
    >>> images = GeneratedImages(InputTransform(resize=32, crop=32))
    >>> len(images.table), decode_image(images.read(0)).shape
    (8, (46, 39, 3))
    """

    transform: InputTransform
    seed: int = 0
    table: ImageTable = field(init=False)

    def __post_init__(self) -> None:
        names = [self.path(row) for row in range(_COUNT)]
        blank, zeros = [""] * _COUNT, np.zeros(_COUNT, dtype=np.int64)
        table = ImageTable(
            path=names, label=blank, split=blank, group=blank, size=zeros, mtime_ns=zeros
        )
        object.__setattr__(self, "table", table)

    def path(self, row: int) -> str:
        """Return the name of an image."""
        return f"generated-{row}.ppm"

    def read(self, row: int) -> bytes:
        """Return an image as a PPM file."""
        random = np.random.default_rng([self.seed, row])
        side = self.transform.crop
        height, width = random.integers(side // 2 + 2, side * 3 // 2 + 3, 2).tolist()
        made = _noise if row % 2 else _waves
        pixels = made(random, height, width)
        return f"P6 {width} {height} 255\n".encode() + pixels.tobytes()

    def with_table(self, table: ImageTable) -> "GeneratedImages":
        """Return itself: these images cannot be numbered by another table."""
        return self

    def missing_here(self) -> str:
        """Return an empty text: any process can make these images."""
        return ""


def _noise(random: np.random.Generator, height: int, width: int) -> NDArray[np.uint8]:
    return random.integers(0, 256, (height, width, 3), dtype=np.uint8)


def _waves(random: np.random.Generator, height: int, width: int) -> NDArray[np.uint8]:
    """Return waves of falling strength, as in photographs, cut by an edge."""
    y, x = np.mgrid[:height, :width] / max(height, width)
    value = np.zeros((height, width, 3))
    for number in range(_WAVES):
        across, down = random.normal(0, 2.0**number, 2)
        phase = random.uniform(0, 2 * np.pi, 3)
        wave = np.sin(2 * np.pi * (across * x + down * y)[..., None] + phase)
        value += wave / 2**number
    value += 2.0 * (x > random.uniform())[..., None]
    low, high = value.min(), value.max()
    return np.asarray((255 * (value - low) / (high - low)).astype(np.uint8))
