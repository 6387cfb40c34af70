"""Shelves: where the shards of a cache stand, no more than some thousands of names to a folder.

The first thousand of a layer stand in its folder, each further thousand in a folder of its own
below that: ``codes/layer3/00000.h5``, ``codes/layer3/7/07123.h5``.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote, unquote

_ON_A_SHELF = 1000  # file systems on a network list large folders slowly, or not at all


def layer_dir(cache: Path, layer: str) -> Path:
    """Where a layer's shards stand."""
    return cache / "codes" / quote(layer, safe="")


def list_layer_dirs(cache: Path) -> list[str]:
    """The layers that have a folder, by name."""
    folder = cache / "codes"
    if not folder.is_dir():
        return []
    return sorted(unquote(found.name) for found in folder.iterdir() if found.is_dir())


def shard_path(folder: Path, shard: int) -> Path:
    """Where a shard of a layer's folder stands once it is done."""
    return folder / _place(shard)


def list_shards(folder: Path) -> list[int]:
    """The shards whose names stand in their places below a layer's folder, ascending.

    Folders are listed; no shard is looked at.
    """
    return sorted(shard for place in _listed(folder) if (shard := _shard(place)) is not None)


def files_in(folder: Path) -> list[Path]:
    """What stands in a layer's folder and on its shelves, but for unfinished work."""
    return [folder / place for place in sorted(_listed(folder))]


def _place(shard: int) -> str:
    shelf = shard // _ON_A_SHELF
    return f"{shelf}/{shard:05d}.h5" if shelf else f"{shard:05d}.h5"


def _shard(place: str) -> int | None:
    number = place.rpartition("/")[2].removesuffix(".h5")
    is_number = number.isascii() and number.isdecimal()
    return int(number) if is_number and _place(int(number)) == place else None


def _listed(folder: Path) -> Iterator[str]:
    if not folder.is_dir():
        return
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if entry.name.isdecimal() and entry.is_dir():
                yield from (f"{entry.name}/{place}" for place in _listed(Path(entry.path)))
            else:
                yield entry.name
