"""Make images to extract from: generated JPEGs, real photographs, and repetitions of both."""

import os
import shutil
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image

_BLOCK = 6  # pixels per independent colour; makes files as large as photographs


def write_jpegs(folder: Path, count: int, *, size: tuple[int, int] = (500, 375)) -> list[Path]:
    """Write `count` JPEGs of smooth noise into two class folders; image i is always the same."""
    for label in ("class0", "class1"):
        (folder / label).mkdir(parents=True, exist_ok=True)
    paths = [folder / f"class{i % 2}" / f"{i:06d}.jpg" for i in range(count)]

    def draw(seed: int) -> None:
        rows, columns = max(1, size[1] // _BLOCK), max(1, size[0] // _BLOCK)
        random = np.random.default_rng(seed)
        small = random.integers(0, 256, (rows, columns, 3), dtype=np.uint8)
        large = Image.fromarray(small).resize(size, Image.Resampling.BICUBIC)
        large.save(paths[seed], quality=90)

    with ThreadPoolExecutor() as pool:  # Pillow releases the GIL
        list(pool.map(draw, range(count)))
    return paths


def repeat(images: Sequence[Path], folder: Path, count: int) -> list[Path]:
    """Copy images into another folder, in their class folders, and repeat them as links.

    The links are hard links, so that every path looks like a file of its own.
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
    """List the Hymenoptera photographs below the folder BOTTLENECK_REAL; none if it is not set."""
    folder = os.environ.get("BOTTLENECK_REAL")
    if not folder:
        return []
    return sorted((Path(folder) / "data" / "hymenoptera").rglob("*.jpg"))


def _link_or_copy(source: Path, path: Path) -> None:
    try:
        path.hardlink_to(source)
    except OSError:  # another file system, or one without links
        shutil.copyfile(source, path)
