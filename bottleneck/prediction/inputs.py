"""Turn the arguments of `predict` and `evaluate` into a head and image files."""

import dataclasses
import glob
import os
from collections.abc import Sequence
from pathlib import Path

from bottleneck.data import FileSource, ImageSource, SourceNotes, open_images
from bottleneck.errors import ImagesNotFoundError
from bottleneck.fitting import Head


def open_head(head: Head | str | os.PathLike[str]) -> Head:
    """Return a head, read from its file where a path is given.

    Raises
    ------
    HeadError
        There is no such file, or it is not a head.
    """
    return head if isinstance(head, Head) else Head.load(Path(head))


def open_sources(
    images: str | os.PathLike[str] | Sequence[str | os.PathLike[str]] | ImageSource,
) -> ImageSource:
    """Return all images that are named, as one source.

    Parameters
    ----------
    images : path, sequence of paths, or ImageSource
        Each path is expanded by `expand_paths`; an `ImageSource` is returned as it is.

    Raises
    ------
    ImagesNotFoundError
        A name matches no image.

    Examples
    --------
    >>> source = open_sources(["data/digits/test/7", "data/digits/test/8/000*.png"])
    >>> source.path(len(source.table) - 1)
    'data/digits/test/8/0008.png'
    """
    if isinstance(images, str | os.PathLike):
        images = [images]
    if not isinstance(images, Sequence):
        return images
    notes: list[SourceNotes] = []
    source = FileSource.from_paths(path for name in images for path in expand_paths(name, notes))
    return dataclasses.replace(source, notes=SourceNotes.merge(notes))


def expand_paths(
    name: str | os.PathLike[str], notes: list[SourceNotes] | None = None
) -> list[Path]:
    """Return the image files of a file, folder, CSV or pattern.

    Parameters
    ----------
    name : str or path-like
        An image; a folder, for all images below it; a ``.csv`` file with a column ``path``, whose
        paths are relative to the CSV's folder; or a pattern such as ``"new/**/*.jpg"``, each match
        of which is one of these. An existing path is not a pattern, whatever its characters.
    notes : list of SourceNotes, optional
        What is found beside the images of folders and CSVs is appended.

    Returns
    -------
    list of Path
        In the order of the CSV, and sorted otherwise.

    Raises
    ------
    ImagesNotFoundError
        Nothing matches, or there is no image in a folder or CSV.
    ImagesTableError
        A CSV lacks a column of paths, names a file twice, or is not understood.

    Examples
    --------
    >>> [path.name for path in expand_paths("data/digits/test/7/000*.png")]
    ['0007.png']
    >>> len(expand_paths("data/digits/train"))
    50
    """
    path = Path(name)
    if path.exists():
        return _images_at(path, notes)
    # Path.glob has no "**/" of its own, and refuses absolute patterns.
    matches = sorted(glob.glob(os.fspath(name), recursive=True))  # noqa: PTH207
    if not matches:
        raise ImagesNotFoundError(
            f"no image, folder or pattern of images: {path}: quote a pattern, and look at the path"
        )
    return [image for match in matches for image in _images_at(Path(match), notes)]


def _images_at(path: Path, notes: list[SourceNotes] | None) -> list[Path]:
    if not path.is_dir() and path.suffix.lower() != ".csv":
        return [path]
    images = open_images(path, labels=False)
    if notes is not None:
        notes.append(getattr(images, "notes", SourceNotes()))
    return [Path(images.path(row)) for row in range(len(images.table))]
