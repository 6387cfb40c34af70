"""A cache of maps whose labels only half follow from the images, and options of quick training."""

from pathlib import Path
from typing import Any

import numpy as np

from bottleneck.cache.store import Cache
from bottleneck.extraction.extract import extract
from bottleneck.finetuning.options import TuneOptions
from tests.helpers.networks import NETWORKS, SMALL
from tests.helpers.options import grouped
from tests.helpers.photographs import write_photographs

CHAIN = f"{NETWORKS}:chain"
BOUNDARY = "2"  # the first ReLU, behind a convolution and batch norm
QUICK = TuneOptions(epochs=2, batch_size=16, lr=1e-3, device="cpu")


def hard_images(folder: Path) -> Path:
    """A CSV of 60 images, a third of them to test, with labels that are wrong now and then."""
    random = np.random.default_rng(0)
    images = [
        path
        for k, label in enumerate(("ants", "bees", "wasps"))
        for path in write_photographs(folder / "hard", 20, label=label, first_seed=100 * k)
    ]
    lines = ["path,label,split,group"]
    for i, image in enumerate(images):
        label = "abc"[i // 20 if random.random() < 0.7 else random.integers(3)]
        lines.append(f"hard/{image.name},{label},{'test' if i % 3 == 2 else 'train'},g{i // 6}")
    (folder / "hard.csv").write_text("\n".join(lines) + "\n")
    return folder / "hard.csv"


def maps_cache(images: Path, out: Path, **options: Any) -> Cache:
    """The maps of `BOUNDARY` in two views, float32, in shards of eight rows."""
    known: dict[str, Any] = {
        "model": CHAIN,
        "layers": [BOUNDARY],
        "pool": "none",
        "transform": SMALL,
        "dtype": "float32",
        "shard_size": 8,
        "precision": "float32",
        "device": "cpu",
        "count": 2,
    }
    return extract(images, out, **grouped(known | options)).cache
