"""Names of files that hold many images: their kinds, ranges of shards, splits in their names."""

import os
import re
from itertools import product
from pathlib import Path
from typing import Literal

from bottleneck.data.sources.cache_folder import is_cache_folder
from bottleneck.data.split_names import parse_split
from bottleneck.errors import ImagesNotFoundError

# What `containers` opens.
ContainerKind = Literal["tar", "parquet", "npz", "hdf5"]

# By the end of a file's name. Compressed archives are among them, so that opening one gives
# an error with the reason.
_KINDS: dict[ContainerKind, tuple[str, ...]] = {
    "tar": (".tar", ".tgz", ".tbz", ".tbz2", ".txz", ".tzst"),
    "parquet": (".parquet", ".pq"),
    "npz": (".npz",),
    "hdf5": (".h5", ".hdf5", ".hdf"),
}
_COMPRESSED_TAR = re.compile(r"\.tar\.(gz|bz2|xz|zst|lz4|lzma|z)$")

SUFFIXES = tuple(suffix for suffixes in _KINDS.values() for suffix in suffixes)

_MOST_SHARDS = 1_000_000
_BRACES = re.compile(r"\{([^{}]*)\}")
_RANGE = re.compile(r"(\d{1,18})\.\.(\d{1,18})")


def container_kind(name: str) -> ContainerKind | None:
    """Return the kind of file that holds many images, by its name; None for any other.

    Examples
    --------
    >>> container_kind("a-000.tar"), container_kind("train.parquet"), container_kind("1.jpg")
    ('tar', 'parquet', None)
    """
    name = name.lower()
    if _COMPRESSED_TAR.search(name):
        return "tar"
    return next((kind for kind, suffixes in _KINDS.items() if name.endswith(suffixes)), None)


def find_containers(folder: Path) -> dict[ContainerKind, list[str]]:
    """Return the files below a folder that hold many images, by their kind.

    Parameters
    ----------
    folder : Path
        Hidden files and folders in it are ignored, caches as well, and links are followed.

    Returns
    -------
    dict of kind to list of str
        Paths relative to `folder`, with forward slashes, sorted.

    Raises
    ------
    OSError
        A folder cannot be listed.
    """
    found: dict[ContainerKind, list[str]] = {}
    seen = set()

    def fail(error: OSError) -> None:
        raise error

    for place, folders, names in os.walk(folder, onerror=fail, followlinks=True):
        status = os.stat(place)  # noqa: PTH116  (as os.walk is)
        if (status.st_dev, status.st_ino) in seen:  # a link to a folder above
            folders.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        shown = [name for name in folders if not name.startswith(".")]
        folders[:] = [name for name in shown if not is_cache_folder(Path(place, name))]
        for name in names:
            if (kind := container_kind(name)) and not name.startswith("."):
                path = Path(place, name).relative_to(folder).as_posix()
                found.setdefault(kind, []).append(path)
    return {kind: sorted(paths) for kind, paths in sorted(found.items())}


def is_shard_pattern(name: str | os.PathLike[str]) -> bool:
    """Return whether a name is a pattern of several containers, as ``a-{000..127}.tar`` does."""
    text = os.fspath(name)
    return bool(_BRACES.search(text)) and bool(container_kind(text))


def expand_shards(name: str | os.PathLike[str]) -> list[str]:
    """Return the names that a pattern with braces expands to.

    Parameters
    ----------
    name : str or path-like
        ``{000..127}`` is a range whose numbers have as many digits; ``{a,b}`` is one of these.

    Raises
    ------
    ImagesNotFoundError
        Braces hold something else, or the pattern expands to more than a million names.

    Examples
    --------
    >>> expand_shards("a-{08..10}.tar")
    ['a-08.tar', 'a-09.tar', 'a-10.tar']
    >>> expand_shards("{train,val}-{0..1}.tar")
    ['train-0.tar', 'train-1.tar', 'val-0.tar', 'val-1.tar']
    """
    text = os.fspath(name)
    choices, count = [], 1
    for i, part in enumerate(_BRACES.split(text)):  # outside and inside of braces, in turn
        choices.append(_choices(text, part) if i % 2 else [part])
        count *= len(choices[-1])
        if count > _MOST_SHARDS:
            raise ImagesNotFoundError(f"{text} stands for more than {_MOST_SHARDS} files")
    return list(map("".join, product(*choices)))


def _choices(text: str, inside: str) -> list[str]:
    if "," in inside:
        return inside.split(",")
    match = _RANGE.fullmatch(inside)
    if match is None or int(match[2]) < int(match[1]):
        raise ImagesNotFoundError(
            f"no such file: {text}: in braces there must be a range such as {{000..127}}, or names "
            "with commas between them"
        )
    first, last = int(match[1]), int(match[2])
    if last - first >= _MOST_SHARDS:
        raise ImagesNotFoundError(f"{text} stands for more than {_MOST_SHARDS} files")
    return [f"{number:0{len(match[1])}d}" for number in range(first, last + 1)]


def split_of_container(name: str) -> str:
    """Return the split that the name of a container says, or else a folder above it.

    Parameters
    ----------
    name : str
        Relative to the folder of the images.

    Returns
    -------
    str
        Empty if no word of the name is a split, or if two are.

    Examples
    --------
    >>> split_of_container("data/train-00000-of-00002.parquet"), split_of_container("test/a.tar")
    ('train', 'test')
    >>> split_of_container("a-000.tar")
    ''
    """
    for part in reversed(name.split("/")):
        if parsed := parse_split(part):
            return parsed.split
    return ""
