"""Define how much the benchmarks measure: the reported sizes, and toy sizes for a trial run."""

from dataclasses import dataclass, field

_GRID = tuple(10.0 ** (n / 2) for n in range(-12, 11))  # of a whole path: half decades


@dataclass(frozen=True)
class FittingProfile:
    """Sizes of the benchmark of fitting.

    Attributes
    ----------
    n, d, classes, test : int
        As in `benchmarks.helpers.synthetic_codes.synthetic_codes`.
    two_classes : tuple of 2 int
        Rows and features of the codes of two classes.
    cs : tuple of float
        Values of C for the comparison with other solvers.
    grid : tuple of float
        Values of C of the search.
    folds : int
    photographs : bool
        Whether to measure on the Hymenoptera photographs as well.
    images : int
        Number of images that the network runs on.
    """

    n: int = 3030
    d: int = 512
    classes: int = 101
    test: int = 5050
    two_classes: tuple[int, int] = (245, 512)
    cs: tuple[float, ...] = (1e-3, 1e-2, 1e-1, 1.0)
    grid: tuple[float, ...] = _GRID
    folds: int = 5
    photographs: bool = True
    images: int = 600


FULL_FITTING = FittingProfile()
QUICK_FITTING = FittingProfile(
    n=300,
    d=32,
    classes=5,
    test=100,
    two_classes=(30, 40),
    cs=(1e-3, 1e-1),
    grid=_GRID[::6],
    folds=2,
    photographs=False,
    images=8,
)


@dataclass(frozen=True)
class NetworkProfile:
    """One network of the benchmark of extraction.

    Attributes
    ----------
    model : str
    layers : tuple of str
        The last useful layer, and one in the middle.
    auto, float32 : int
        Number of images end to end, with ``auto`` and with float32.
    turns : int
        Rounds of measurement.
    naive_script : bool
        Whether to compare with the naive script, at the last layer.
    """

    model: str
    layers: tuple[str, ...]
    auto: int
    float32: int
    turns: int = 3
    naive_script: bool = False


@dataclass(frozen=True)
class ExtractionProfile:
    """Sizes of the benchmark of extraction.

    Attributes
    ----------
    networks : tuple of NetworkProfile
    images : int
        Number of images for the naive script.
    few : int
        Number of images to warm up with, and to find the best naive script.
    batch : int, optional
        Images in a forward pass; by default the package's own choice.
    scripts : tuple of (int, int)
        Batch sizes and num_workers; the naive script uses the best of them.
    seconds : float
        Seconds for which a stage alone is measured.
    turns : int
        Rounds of measurement.
    truncated : str
        The network whose truncation is measured.
    detail : int
        Number of images end to end where runs of one network are compared.
    memory : tuple of 2 int
        Numbers of images of the two runs whose memory is compared.
    written : int
        Number of images whose codes are written.
    read : tuple of 2 int
        Rows and features of the codes that are read back.
    transform : dict of str to int
        Fields of `bottleneck.InputTransform` that replace the networks' own.
    """

    networks: tuple[NetworkProfile, ...] = (
        NetworkProfile(
            "squeezenet1_0", ("features.12", "features.7"), 4000, 2000, naive_script=True
        ),
        NetworkProfile("resnet18", ("layer4", "layer3"), 3000, 1000, turns=2),
        NetworkProfile("resnet50", ("layer4", "layer3"), 2000, 500, turns=1),
        NetworkProfile("mobilenet_v3_small", ("features.12", "features.8"), 6000, 3000),
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


FULL_EXTRACTION = ExtractionProfile()
QUICK_EXTRACTION = ExtractionProfile(
    networks=(
        NetworkProfile(
            "squeezenet1_0", ("features.12", "features.7"), 8, 4, turns=1, naive_script=True
        ),
        NetworkProfile("resnet18", ("layer4", "layer3"), 8, 4, turns=1),
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
