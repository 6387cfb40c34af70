"""ImageSource: a table of images and their bytes, independent of how they are stored."""

import os
from pathlib import Path
from typing import Protocol, Self

from bottleneck.data.sources.csv_paths import find_respelled
from bottleneck.data.sources.files import FileSource
from bottleneck.data.sources.folder import SUFFIXES, read_folder
from bottleneck.data.sources.image_csv import read_image_csv
from bottleneck.data.sources.notes import SourceNotes
from bottleneck.data.table import ImageTable
from bottleneck.errors import ImagesNotFoundError


class ImageSource(Protocol):
    """A table of images, and the bytes of each of them. Sources can be pickled.

    Examples
    --------
    >>> images = open_images("data/digits")
    >>> images.read(0)[1:4], images.path(0)
    (b'PNG', 'data/digits/test/5/0015.png')
    >>> images.missing_here()
    ''
    """

    @property
    def table(self) -> ImageTable:
        """The images; its rows number them."""
        ...

    def read(self, row: int) -> bytes:
        """Return the bytes of an encoded image, such as a JPEG.

        Raises
        ------
        ImageError
            This image cannot be read.
        OSError
            The storage is out of reach: no image can be read.
        """
        ...

    def path(self, row: int) -> str:
        """Return a name by which a user can find an image, to be used in messages."""
        ...

    def with_table(self, table: ImageTable) -> Self:
        """Return the source of the same images, numbered by the rows of another table.

        A cache keeps the row numbers of its images: after an update they differ from those of the
        source that the update was made from. Images are identified by their paths.
        """
        ...

    def missing_here(self) -> str:
        """Return the path of something that this process cannot see; empty if it sees the images.

        Workers on other machines call this before a run.
        """
        ...


def open_images(
    source: str | os.PathLike[str] | ImageSource, *, labels: bool = True
) -> ImageSource:
    """Find the images of a directory or a CSV, in a fixed order.

    A directory of class folders gives labels; one of split folders with class folders in them gives
    splits as well; a flat one gives neither. A CSV has the columns
    ``path[,label][,split][,group]``, paths relative to its own folder. Splits and columns may have
    any of their usual names.

    Parameters
    ----------
    source : path-like or ImageSource
        A directory or a CSV file; an `ImageSource` is returned as it is.
    labels : bool
        Whether the folders of a directory give labels and splits. If not, none are refused.

    Returns
    -------
    ImageSource
        Its table is sorted by path (a directory) or in the file's order (a CSV).

    Raises
    ------
    ImagesNotFoundError
        The path does not exist, or there is no image in it.
    ImagesTableError
        The CSV lacks a column of paths, names a file twice, or is not understood.
    LabelsError
        Folders look like splits, but it cannot be told which is which.

    Examples
    --------
    >>> images = open_images("data/digits")
    >>> len(images.table), images.path(0)
    (896, 'data/digits/test/5/0015.png')
    """
    if not isinstance(source, (str, os.PathLike)):
        return source
    path = Path(source)
    if path.is_dir():
        found = FileSource.from_columns(path, *read_folder(path, labels=labels))
    elif path.is_file() and path.suffix.lower() == ".csv":
        found = _open_csv(path)
    elif path.exists():
        raise ImagesNotFoundError(f"{path} is neither a directory nor a .csv file of images")
    else:
        raise ImagesNotFoundError(
            f"no such directory or CSV of images: {path}: give a folder of class folders, a flat "
            "folder, or a .csv file"
        )
    if not found.table:
        passed_over = found.notes.passed_over_text()
        raise ImagesNotFoundError(
            f"no images in {path}: looked for {' '.join(sorted(SUFFIXES))} in it and below"
            f"{'; ' * bool(passed_over)}{passed_over}"
        )
    return found


def _open_csv(path: Path) -> FileSource:
    csv = read_image_csv(path)
    source = FileSource.from_columns(path.parent, csv.columns, SourceNotes(remarks=csv.remarks))
    source = find_respelled(source)
    csv.require_distinct(source.table.path, as_files=True)
    return source
