"""Find the images of a path, whatever holds them."""

import os
from pathlib import Path

from bottleneck.data.decoding.formats import image_suffixes
from bottleneck.data.image_source import ImageSource
from bottleneck.data.sources.cache_folder import is_cache_folder
from bottleneck.data.sources.container_names import SUFFIXES as CONTAINER_SUFFIXES
from bottleneck.data.sources.container_names import container_kind, is_shard_pattern
from bottleneck.data.sources.containers import open_containers
from bottleneck.data.sources.files.csv_paths import find_respelled
from bottleneck.data.sources.files.file_source import FileSource
from bottleneck.data.sources.files.folder import read_folder
from bottleneck.data.sources.files.image_csv import read_image_csv
from bottleneck.data.sources.notes import SourceNotes
from bottleneck.errors import ImagesNotFoundError, InvalidOptionError

_LISTS = (".csv", ".tsv")
_CONTAINERS = " ".join(CONTAINER_SUFFIXES)


def open_images(
    source: str | os.PathLike[str] | ImageSource, *, labels: bool = True
) -> ImageSource:
    """Find the images of a directory, a CSV, archives, tables or arrays, in a fixed order.

    A directory of class folders gives labels; one of split folders with class folders in them gives
    splits as well; a flat one gives neither. A CSV has the columns
    ``path[,label][,split][,group]``, paths relative to its own folder. Splits and columns may have
    any of their usual names. Images are also read from tar archives, Parquet, ``.npz`` and HDF5
    files, from several that a pattern such as ``a-{000..127}.tar`` names, and from a directory that
    holds such files and no images.

    Parameters
    ----------
    source : path-like or ImageSource
        A directory, a file or a pattern; an `ImageSource` is returned as it is.
    labels : bool
        Whether the folders of a directory give labels and splits. If not, none are refused.

    Returns
    -------
    ImageSource
        Its table is sorted by path (a directory of images) or in the order of the files (all
        others).

    Raises
    ------
    InvalidOptionError
        It is neither a path nor an `ImageSource`.
    ImagesNotFoundError
        The path does not exist, there is no image in it, or it is a cache.
    ImagesTableError
        A file that lists or holds the images is malformed, names an image twice, or is not
        understood.
    LabelsError
        Folders look like splits, but which splits they are is ambiguous.

    Examples
    --------
    >>> images = open_images("data/digits")
    >>> len(images.table), images.path(0)
    (896, 'data/digits/test/5/0015.png')
    """
    if not isinstance(source, (str, os.PathLike)):
        return _require_source(source)
    if not os.fspath(source):
        raise InvalidOptionError("images", "", "a path: '.' is the working directory")
    path = Path(source)
    if is_cache_folder(path):
        raise ImagesNotFoundError(f"{path} is a cache: name the images that it was made of")
    if path.is_dir():
        return _open_folder(path, labels)
    if path.is_file() and path.suffix.lower() in _LISTS:
        return _open_csv(path)
    if (containers := open_containers(path, labels=labels)) is not None:
        return containers
    if path.exists():
        raise ImagesNotFoundError(
            f"{path} is neither a directory nor a .csv or .tsv file of images, nor one of "
            f"{_CONTAINERS}"
        )
    raise ImagesNotFoundError(
        f"no such directory or file of images: {path}: give a folder of class folders, a flat "
        f"folder, a .csv file, or one of {_CONTAINERS}"
    )


def _require_source(source: ImageSource) -> ImageSource:
    """Return a source; refuse what Python's users give in its place, such as a list of paths."""
    if not hasattr(source, "table"):
        raise InvalidOptionError(
            "images",
            type(source).__name__,
            "a path or an ImageSource",
            "a .csv file with a column path lists images, and `numpy.savez` puts arrays into an "
            ".npz file, as `images` and `labels`",
        )
    return source


def _open_folder(path: Path, labels: bool) -> ImageSource:
    """Return the images of a folder; where there are none, those of the containers in it."""
    found = FileSource.from_columns(path, *read_folder(path, labels=labels))
    if found.table:
        return found
    if (containers := open_containers(path, labels=labels)) is not None:
        return containers
    passed_over = found.notes.passed_over_text()
    raise ImagesNotFoundError(
        f"no images in {path}: looked for {' '.join(sorted(image_suffixes()))} in it and below"
        f"{'; ' * bool(passed_over)}{passed_over}"
    )


def _open_csv(path: Path) -> FileSource:
    csv = read_image_csv(path)
    source = FileSource.from_columns(path.parent, csv.columns, SourceNotes(remarks=csv.remarks))
    if not source.table:
        raise ImagesNotFoundError(f"no images in {path}: it has no row behind its first line")
    source = find_respelled(source)
    csv.require_distinct(source.table.path, as_files=True)
    return source


def require_existing(source: ImageSource) -> ImageSource:
    """Return a source, unless none of its images exists: its paths may begin somewhere else.

    Raises
    ------
    ImagesNotFoundError
        No image exists. A source without rows is not refused.

    Examples
    --------
    >>> require_existing(FileSource.from_paths(["nowhere/1.jpg"]))
    Traceback (most recent call last):
    bottleneck.errors.ImagesNotFoundError: none of the images exists, for example nowhere/1.jpg: ...
    """
    table = source.table
    if len(table) and not table.exists.any():
        raise ImagesNotFoundError(
            f"none of the images exists, for example {source.path(0)}: paths in a list are "
            "relative to its folder, or absolute"
        )
    return source


def is_collection(path: Path) -> bool:
    """Return whether a path is a directory, a CSV, archive, table or array, not a single image.

    Examples
    --------
    >>> is_collection(Path("data/digits")), is_collection(Path("data/digits/test/5/0015.png"))
    (True, False)
    >>> is_collection(Path("a-{000..127}.tar"))
    True
    """
    if not path.exists():
        return is_shard_pattern(path)
    return path.is_dir() or path.suffix.lower() in _LISTS or bool(container_kind(path.name))
