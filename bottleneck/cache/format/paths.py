"""Map series and shards to files, so that no folder holds more than some thousand names.

The first thousand shards of a series are in its folder, each further thousand in a subfolder:
``codes/layer3/00000.h5``, ``codes/layer3/7/07123.h5``; ``codes/layer3@1/00000.h5`` is of view 1.
"""

import os
import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote, unquote

from bottleneck.cache.format.series import Series, SeriesLike

_SHARDS_PER_FOLDER = 1000  # network file systems list large folders slowly, or not at all


def series_dir(cache: Path, series: SeriesLike) -> Path:
    """Return the folder of the shards of a series.

    Examples
    --------
    >>> series_dir(Path("photos.cache"), "block/1").as_posix()
    'photos.cache/codes/block%2F1'
    >>> series_dir(Path("photos.cache"), Series("block/1", 2)).as_posix()
    'photos.cache/codes/block%2F1@2'
    """
    series = Series.of(series)
    view = f"@{series.view}" if series.view else ""  # in a layer's name, an @ is %40
    return cache / "codes" / f"{quote(series.layer, safe='')}{view}"


def list_series(cache: Path) -> list[Series]:
    """Return the series that a cache should have by the names of its folders, sorted.

    A layer of which a view was begun should have that view, and all before it. Names that
    begin with a dot are ignored, and so are folders that are of no series.
    """
    last: dict[str, int] = {}
    for series in filter(None, map(_series_of, _subfolders(cache / "codes"))):
        last[series.layer] = max(series.view, last.get(series.layer, 0))
    return [Series(layer, view) for layer in sorted(last) for view in range(last[layer] + 1)]


def has_shards(cache: Path) -> bool:
    """Return whether a directory has a shard of any series by its name.

    Examples
    --------
    >>> has_shards(Path("tests/data/before/cache")), has_shards(Path("tests"))
    (True, False)
    """
    return any(list_shards(series_dir(cache, series)) for series in list_series(cache))


def list_foreign(cache: Path) -> list[Path]:
    """Return the folders among those of the layers that are of no series, sorted."""
    return sorted(folder for folder in _subfolders(cache / "codes") if not _series_of(folder))


def _subfolders(folder: Path) -> Iterator[Path]:
    if folder.is_dir():
        yield from (path for path in folder.iterdir() if path.is_dir() and path.name[0] != ".")


def _series_of(folder: Path) -> Series | None:
    """Return the series that a folder is of; None if its name is that of none, or its files are."""
    parts = re.fullmatch(r"([^@]+)(?:@([1-9][0-9]{0,2}))?", folder.name)
    series = Series(unquote(parts[1]), int(parts[2] or 0)) if parts else None
    if series is None or series_dir(Path(), series).name != folder.name:
        return None
    return None if _has_only_other_files(folder) else series


def _has_only_other_files(folder: Path) -> bool:
    """Return whether there are files, and none is a shard. An empty folder was begun."""
    name = None
    for name in _walk(folder):  # mostly the first is a shard
        if _shard_number(name) is not None:
            return False
    return name is not None


def shard_path(folder: Path, shard: int) -> Path:
    """Return the file of a finished shard.

    Parameters
    ----------
    folder : Path
        Folder of the series.
    shard : int
        Number of the shard.

    Examples
    --------
    >>> shard_path(Path("layer3"), 7123).as_posix()
    'layer3/7/07123.h5'
    """
    return folder / _relative_path(shard)


def list_shards(folder: Path) -> list[int]:
    """Return the numbers of a series' shards whose files exist, ascending.

    Only names are looked at; no file is opened.

    Parameters
    ----------
    folder : Path
        Folder of the series.
    """
    return sorted(shard for name in _walk(folder) if (shard := _shard_number(name)) is not None)


def files_in(folder: Path) -> list[Path]:
    """Return all files in a folder of shards and its subfolders, except temporary ones.

    Parameters
    ----------
    folder : Path
        Folder of the series.
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
