"""Images to extract from: generated JPEGs, photographs where they are at hand, and repetitions."""

import os
import shutil
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image

_BLOCK = 6  # pixels of one independent colour and more, so that files have a photograph's size


def write_jpegs(folder: Path, count: int, *, size: tuple[int, int] = (500, 375)) -> list[Path]:
    """Draw smooth noise, width × height, in two class folders; the same for the same count."""
    for label in ("class0", "class1"):
        (folder / label).mkdir(parents=True, exist_ok=True)
    paths = [folder / f"class{i % 2}" / f"{i:06d}.jpg" for i in range(count)]

    def draw(seed: int) -> None:
        rows, columns = max(1, size[1] // _BLOCK), max(1, size[0] // _BLOCK)
        random = np.random.default_rng(seed)
        small = random.integers(0, 256, (rows, columns, 3), dtype=np.uint8)
        large = Image.fromarray(small).resize(size, Image.Resampling.BICUBIC)
        large.save(paths[seed], quality=90)

    with ThreadPoolExecutor() as pool:  # Pillow works outside of Python's lock
        list(pool.map(draw, range(count)))
    return paths


def repeat(images: Sequence[Path], folder: Path, count: int) -> list[Path]:
    """Copy images into another folder, in their class folders, and link the copies up to `count`.

    The links are hard, so that nothing that looks at a path sees fewer files than there are.
    """
    paths: list[Path] = []
    for i in range(count):
        source = images[i % len(images)]
        path = folder / source.parent.name / f"{i:06d}{source.suffix}"
        path.parent.mkdir(parents=True, exist_ok=True)
        if i < len(images):
            _link_or_copy(source, path)
        else:
            path.hardlink_to(paths[i - len(images)])
        paths.append(path)
    return paths


def photographs() -> list[Path]:
    """The Hymenoptera photographs in the folder that BOTTLENECK_REAL names; none without it."""
    folder = os.environ.get("BOTTLENECK_REAL")
    if not folder:
        return []
    return sorted((Path(folder) / "data" / "hymenoptera").rglob("*.jpg"))


def _link_or_copy(source: Path, path: Path) -> None:
    try:
        path.hardlink_to(source)
    except OSError:  # another file system, or one without links
        shutil.copyfile(source, path)
