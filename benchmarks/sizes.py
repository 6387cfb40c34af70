"""Sizes of the benchmark of fitting: as it is reported, and for a try."""

from dataclasses import dataclass

from bottleneck.selection import C_GRID


@dataclass(frozen=True)
class Size:
    """How much is measured.

    Attributes
    ----------
    n, d, classes, test : int
        As in `codes.made_codes`.
    cs : tuple of float
        Where scikit-learn is compared with.
    grid : tuple of float
        Of the whole search.
    folds : int
    photographs : bool
        Whether Hymenoptera is wanted too.
    images : int
        That the network is run on.
    """

    n: int = 3030
    d: int = 512
    classes: int = 101
    test: int = 5050
    cs: tuple[float, ...] = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
    grid: tuple[float, ...] = C_GRID
    folds: int = 5
    photographs: bool = True
    images: int = 600


FULL = Size()
QUICK = Size(
    n=300,
    d=32,
    classes=5,
    test=100,
    cs=(1e-3, 1e-1),
    grid=C_GRID[::6],
    folds=2,
    photographs=False,
    images=8,
)
