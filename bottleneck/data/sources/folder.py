"""Find the image files below a folder, with labels and splits from the names of its folders."""

import os
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from bottleneck.data.formats import image_suffixes
from bottleneck.data.table import TextColumns

SPLITS = ("train", "val", "test")

SUFFIXES = image_suffixes()

_ROWS_AT_ONCE = 4096

_Inode = tuple[int, int]  # device, number


def read_folder(root: Path) -> TextColumns:
    """Return the columns of all image files below a folder, sorted by path.

    Hidden files and folders are ignored, and links are followed.

    Parameters
    ----------
    root : Path
        If its folders are named train, val and test, these are splits, and the folders below them
        are classes. Otherwise its folders are classes. Images directly in it have no label.

    Returns
    -------
    TextColumns
        Paths are relative to `root`; groups are empty.

    Raises
    ------
    OSError
        A folder cannot be listed.

    Examples
    --------
    >>> columns = read_folder(Path("data/digits"))
    >>> columns.path[0], columns.label[0], columns.split[0]
    ('test/5/0015.png', '5', 'test')
    """
    label_at = 1 if _has_splits(root) else 0

    def row(path: str) -> tuple[str, str, str, str]:
        folders = path.split("/")[:-1]
        label = folders[label_at] if len(folders) > label_at else ""
        return path, label, folders[0] if label_at and folders else "", ""

    columns = TextColumns.empty()
    rows = map(row, _walk(str(root)))
    while some := list(islice(rows, _ROWS_AT_ONCE)):
        columns.extend(zip(*some, strict=True))
    return columns


def _has_splits(root: Path) -> bool:
    """Return whether the first level are splits, not classes one of which is called "train"."""
    folders = [path for path in root.iterdir() if path.is_dir() and not _hidden(path.name)]
    named = [path for path in folders if path.name in SPLITS]
    return bool(named) and (
        len(named) == len(folders)
        or any(
            child.is_dir() and not _hidden(child.name)
            for folder in named
            for child in folder.iterdir()
        )
    )


def _walk(folder: str, prefix: str = "", above: frozenset[_Inode] = frozenset()) -> Iterator[str]:
    """Yield the paths of the image files below a folder, sorted; `above` breaks cycles of links."""
    status = os.stat(folder)  # noqa: PTH116  (a Path for each of a million files is slow)
    inode = (status.st_dev, status.st_ino)
    if inode in above:
        return
    with os.scandir(folder) as entries:
        shown = [entry for entry in entries if not _hidden(entry.name)]
    # With its slash, a folder is sorted as the paths in it.
    named = sorted((f"{e.name}/" if _is_folder(e) else e.name, e.path) for e in shown)
    for name, path in named:
        if name.endswith("/"):
            yield from _walk(path, prefix + name, above | {inode})
        elif is_image_name(name):
            yield prefix + name


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False  # a broken link; if it has the name of an image, it becomes a row


def is_image_name(name: str) -> bool:
    """Return whether a file name has the suffix of an image format.

    Examples
    --------
    >>> is_image_name("1.JPG"), is_image_name("notes.txt")
    (True, False)
    """
    return os.path.splitext(name)[1].lower() in SUFFIXES  # noqa: PTH122  (millions of names)


def _hidden(name: str) -> bool:
    return name.startswith(".")
