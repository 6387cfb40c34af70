"""Draw the pictures of docs/gallery.md from the bundled digits: python docs/make_gallery.py."""

import tempfile
from pathlib import Path

import bottleneck as bn

ROOT = Path(__file__).parents[1]
PICTURES = Path(__file__).parent / "gallery"
LAYERS = ["layer1", "layer2", "layer3", "layer4"]
POOL = "2"  # where in a digit a stroke is matters: see the README


def draw(folder: Path, pictures: Path) -> None:
    """Encode the digits, and draw a sweep over the layers and the fit that it recommends."""
    cache = bn.extract(
        ROOT / "data/digits",
        folder / "digits.cache",
        model=f"{ROOT}/data/digits_resnet.py:digits_resnet",
        layers=LAYERS,
        pool=POOL,
        weights=str(ROOT / "data/digits_resnet.safetensors"),
    )
    sweep = bn.sweep(cache)
    sweep.plot(pictures / "sweep.svg")
    chosen = sweep.recommended
    bn.fit(cache, chosen.clf, layers=chosen.layers).plot(pictures / "fit.svg")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        draw(Path(folder), PICTURES)
