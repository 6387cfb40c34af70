"""Sizes of the benchmarks of fitting and of extraction: as they are reported, and for a try."""

from dataclasses import dataclass, field

from bottleneck.fitting.selection import C_GRID


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


@dataclass(frozen=True)
class Network:
    """A network of the benchmark of extraction.

    Attributes
    ----------
    model : str
    layers : tuple of str
        The last one worth reading, and one in the middle.
    auto, float32 : int
        Images from end to end with ``auto`` and in float32.
    turns : int
        How often each thing is measured.
    by_hand : bool
        Whether a script by hand takes its turn at the last layer.
    """

    model: str
    layers: tuple[str, ...]
    auto: int
    float32: int
    turns: int = 3
    by_hand: bool = False


@dataclass(frozen=True)
class ExtractionSize:
    """How much of extraction is measured.

    Attributes
    ----------
    networks : tuple of Network
    images : int
        That a script by hand runs through.
    few : int
        To warm up with, and to find the best script by hand.
    batch : int, optional
        Images in a forward pass; unless given, as many as bottleneck takes by itself.
    scripts : tuple of (int, int)
        Batch sizes and num_workers of which the script by hand takes the best.
    seconds : float
        That a stage alone is measured for.
    turns : int
        How often each thing is measured.
    truncated : str
        The network whose truncation is measured.
    detail : int
        Images from end to end where runs of a network are compared with each other.
    memory : tuple of 2 int
        Images of the two runs whose memory is compared.
    written : int
        Images whose codes are written.
    read : tuple of 2 int
        Rows and features of the codes that are read back.
    transform : dict of str to int
        Fields of `bottleneck.spec.InputTransform` that replace the networks' own.
    """

    networks: tuple[Network, ...] = (
        Network("squeezenet1_0", ("features.12", "features.7"), 4000, 2000, by_hand=True),
        Network("resnet18", ("layer4", "layer3"), 3000, 1000, turns=2),
        Network("resnet50", ("layer4", "layer3"), 2000, 500, turns=1),
        Network("mobilenet_v3_small", ("features.12", "features.8"), 6000, 3000),
    )
    images: int = 2000
    few: int = 256
    batch: int | None = None
    scripts: tuple[tuple[int, int], ...] = ((16, 0), (16, 2), (64, 0), (64, 2))
    seconds: float = 3.0
    turns: int = 3
    truncated: str = "resnet50"
    detail: int = 600
    memory: tuple[int, int] = (2000, 20_000)
    written: int = 2000
    read: tuple[int, int] = (50_000, 2048)
    transform: dict[str, int] = field(default_factory=dict)


FULL_EXTRACTION = ExtractionSize()
QUICK_EXTRACTION = ExtractionSize(
    networks=(
        Network("squeezenet1_0", ("features.12", "features.7"), 8, 4, turns=1, by_hand=True),
        Network("resnet18", ("layer4", "layer3"), 8, 4, turns=1),
    ),
    images=8,
    few=4,
    batch=4,
    scripts=((4, 0),),
    seconds=0.0,
    turns=1,
    truncated="resnet18",
    detail=4,
    memory=(4, 8),
    written=4,
    read=(40, 16),
    transform={"resize": 64, "crop": 64},
)
