"""The networks and images whose accuracy is measured, and how codes are made of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bottleneck.cache.store import Cache
from bottleneck.extraction.extract import extract
from bottleneck.extraction.options import ViewOptions


@dataclass(frozen=True)
class Network:
    """A network: the layers that are compared, by depth, and the cut that it is tuned behind."""

    name: str
    model: str
    weights: str
    layers: tuple[str, ...]
    boundary: str


@dataclass(frozen=True)
class Images:
    """Images with a held-out split, and what their views may be."""

    name: str
    path: str
    augmentations: tuple[str, ...]


NETWORKS = {
    "squeezenet": Network(
        "SqueezeNet 1.0",
        "squeezenet1_0",
        "squeezenet1_0_imagenet.pth",
        layers=(*(f"features.{i}" for i in (3, 5, 7, 10, 12)), "classifier.1"),
        boundary="features.11",
    ),
    "lite0": Network(
        "EfficientNet-lite0",
        "timm:tf_efficientnet_lite0",
        "efficientnet_lite0_imagenet.pth",
        layers=(*(f"blocks.{i}" for i in (2, 3, 4, 5, 6)), "global_pool"),
        boundary="blocks.4",
    ),
}
DATA_SETS = {
    "blood": Images("blood cells, by cell", "blood/split-by-cell.csv", ("flip", "crop", "rotate")),
    "hymenoptera": Images("Hymenoptera", "hymenoptera", ("flip", "crop")),
}


@dataclass(frozen=True)
class Case:
    """A network on images, both below a folder of real ones."""

    real: Path
    network: Network
    images: Images

    @property
    def source(self) -> str:
        """Where the images are."""
        return str(self.real / "data" / self.images.path)

    @property
    def model(self) -> dict[str, Any]:
        """The network, as `extract` and `tune` take it."""
        weights = self.real / "weights" / self.network.weights
        return {"model": self.network.model, "weights": str(weights)}

    def extract(self, out: Path, layers: Sequence[str], views: int = 1, **options: Any) -> Cache:
        """Return a cache of layers, with what it lacks extracted.

        Parameters
        ----------
        out : Path
            The cache's directory.
        layers : sequence of str
        views : int
        **options
            Of `bottleneck.extract`.
        """
        augmentations = self.images.augmentations if views > 1 else None
        recipe = ViewOptions(count=views, augmentations=augmentations)
        return extract(self.source, out, layers=layers, views=recipe, **self.model, **options).cache
