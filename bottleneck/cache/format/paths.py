"""Map layers and shards to files, so that no folder holds more than some thousand names.

The first thousand shards of a layer are in its folder, each further thousand in a subfolder:
``codes/layer3/00000.h5``, ``codes/layer3/7/07123.h5``.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote, unquote

_SHARDS_PER_FOLDER = 1000  # network file systems list large folders slowly, or not at all


def layer_dir(cache: Path, layer: str) -> Path:
    """Return the folder of a layer's shards.

    Examples
    --------
    >>> layer_dir(Path("photos.cache"), "block/1").as_posix()
    'photos.cache/codes/block%2F1'
    """
    return cache / "codes" / quote(layer, safe="")


def list_layer_dirs(cache: Path) -> list[str]:
    """Return the names of the layers that have a folder, sorted.

    A folder with an @ in its name is of a view, not of a layer: in a layer's, it would be %40.
    """
    folder = cache / "codes"
    if not folder.is_dir():
        return []
    children = (child for child in folder.iterdir() if "@" not in child.name)
    return sorted(unquote(child.name) for child in children if child.is_dir())


def shard_path(folder: Path, shard: int) -> Path:
    """Return the file of a finished shard.

    Parameters
    ----------
    folder : Path
        Folder of the layer.
    shard : int
        Number of the shard.

    Examples
    --------
    >>> shard_path(Path("layer3"), 7123).as_posix()
    'layer3/7/07123.h5'
    """
    return folder / _relative_path(shard)


def list_shards(folder: Path) -> list[int]:
    """Return the numbers of a layer's shards whose files exist, ascending.

    Only names are looked at; no file is opened.

    Parameters
    ----------
    folder : Path
        Folder of the layer.
    """
    return sorted(shard for name in _walk(folder) if (shard := _shard_number(name)) is not None)


def files_in(folder: Path) -> list[Path]:
    """Return all files in a layer's folder and its subfolders, except temporary ones.

    Parameters
    ----------
    folder : Path
        Folder of the layer.
    """
    return [folder / name for name in sorted(_walk(folder))]


def _relative_path(shard: int) -> str:
    subfolder = shard // _SHARDS_PER_FOLDER
    return f"{subfolder}/{shard:05d}.h5" if subfolder else f"{shard:05d}.h5"


def _shard_number(name: str) -> int | None:
    """Return the number of the shard that has a relative path; None if no shard has it."""
    digits = name.rpartition("/")[2].removesuffix(".h5")
    is_number = digits.isascii() and digits.isdecimal()
    return int(digits) if is_number and _relative_path(int(digits)) == name else None


def _walk(folder: Path) -> Iterator[str]:
    if not folder.is_dir():
        return
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if entry.name.isdecimal() and entry.is_dir():
                yield from (f"{entry.name}/{name}" for name in _walk(Path(entry.path)))
            else:
                yield entry.name
