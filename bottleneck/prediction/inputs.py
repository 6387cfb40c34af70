"""Turn the arguments of `predict` and `evaluate` into a head and a source of images."""

import glob
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import cast

from bottleneck.data import (
    FileSource,
    ImageSource,
    JoinedSource,
    SourceNotes,
    is_collection,
    open_images,
)
from bottleneck.errors import HeadError, ImagesNotFoundError, InvalidOptionError
from bottleneck.fitting import TAIL_FORMAT, Classifier, Head, classifier_format
from bottleneck.prediction.exported.classify import is_export
from bottleneck.prediction.exported.onnx_model import OnnxModel


def open_predictor(
    head: Classifier | OnnxModel | str | os.PathLike[str], *, device: str = "auto"
) -> Classifier | OnnxModel:
    """Return what classifies images: a head, a tuned tail, or an exported network.

    Parameters
    ----------
    head : Head, TunedTail, OnnxModel or path
    device : str
        Where an exported network computes.

    Raises
    ------
    HeadError, ExportError
        There is no such file, or it is none of them.
    """
    if isinstance(head, Classifier | OnnxModel):
        return head
    _require_path(head)
    return OnnxModel.load(Path(head), device=device) if is_export(head) else open_head(head)


def open_head(head: Classifier | str | os.PathLike[str], views: int | None = None) -> Classifier:
    """Return a head or a tuned tail, read from its file where a path is given.

    Parameters
    ----------
    head : Head, TunedTail or path
    views : int, optional
        Views of an image that it shall average; those that it was trained with unless given.

    Raises
    ------
    InvalidOptionError
        It cannot average as many views.
    HeadError
        There is no such file, or it is neither.
    """
    if not isinstance(head, Classifier):
        _require_path(head)
        head = _read(Path(head))
    return head if views is None else head.with_views(views)


def _require_path(head: object) -> None:
    """Refuse what is no path of a head, such as the result that has one.

    Raises
    ------
    InvalidOptionError
        It is no path.
    """
    if not isinstance(head, str | os.PathLike):
        hint = "a result of `bottleneck.fit` has one as `head`, of `bottleneck.tune` as `tail`"
        raise InvalidOptionError("head", type(head).__name__, "a head or the path of one", hint)


def _read(path: Path) -> Classifier:
    if is_export(path):
        raise HeadError(
            f"{path} is an exported network, which `bottleneck.predict` takes: it has labels and "
            "scores, and no decision values to judge; give the head that it was exported from"
        )
    if classifier_format(path) != TAIL_FORMAT:
        return Head.load(path)
    from bottleneck.finetuning import TunedTail  # imports torch

    return TunedTail.load(path)


def open_sources(
    images: str | os.PathLike[str] | Iterable[str | os.PathLike[str]] | ImageSource,
) -> ImageSource:
    """Return all images that are named, as one source.

    Parameters
    ----------
    images : path, iterable of paths, or ImageSource
        Each path is expanded by `expand_paths`; an `ImageSource` is returned as it is. A path may
        be an image, or anything that `bottleneck.data.images.open_images` takes.

    Raises
    ------
    ImagesNotFoundError
        A name matches no image, or there is no image in a folder or file.
    ImagesTableError
        A file that lists or holds images is malformed.
    InvalidOptionError
        It is none of these.

    Examples
    --------
    >>> source = open_sources(["data/digits/test/7", "data/digits/test/8/000*.png"])
    >>> source.path(len(source.table) - 1)
    'data/digits/test/8/0008.png'
    """
    if hasattr(images, "table"):
        return cast(ImageSource, images)
    if isinstance(images, str | os.PathLike | bytes) or not isinstance(images, Iterable):
        images = [images]
    names = [_require_image_path(name) for name in images]
    sources = list(_sources(path for name in names for path in expand_paths(name)))
    if len(sources) == 1:
        return sources[0]
    return JoinedSource(sources) if sources else FileSource.from_paths([])


def _require_image_path(name: str | os.PathLike[str]) -> str | os.PathLike[str]:
    """Return a path; refuse what Python's users give in its place, such as an array."""
    if not isinstance(name, str | os.PathLike):
        hint = (
            "`numpy.savez` puts arrays into an .npz file, and an image's `save` writes a file; "
            "what `bottleneck.export` writes takes arrays"
        )
        raise InvalidOptionError("images", type(name).__name__, "paths, or an ImageSource", hint)
    return name


def expand_paths(name: str | os.PathLike[str]) -> list[Path]:
    """Return the paths that a name gives: itself, or the matches of a pattern.

    Parameters
    ----------
    name : str or path-like
        A path; a pattern such as ``"new/**/*.jpg"``; or shards such as ``"a-{000..127}.tar"``,
        which stay one. An existing path is not a pattern, whatever its characters.

    Returns
    -------
    list of Path
        Sorted.

    Raises
    ------
    ImagesNotFoundError
        Nothing matches.

    Examples
    --------
    >>> [path.name for path in expand_paths("data/digits/test/7/000*.png")]
    ['0007.png']
    >>> expand_paths("data/digits/train")
    [PosixPath('data/digits/train')]
    """
    path = Path(name)
    if path.exists() or is_collection(path):
        return [path]
    # Path.glob has no "**/" of its own, and refuses absolute patterns.
    matches = sorted(glob.glob(os.fspath(name), recursive=True))  # noqa: PTH207
    if not matches:
        raise ImagesNotFoundError(
            f"no image, folder or pattern of images: {path}: quote a pattern, and look at the path"
        )
    return [Path(match) for match in matches]


def _sources(paths: Iterator[Path]) -> Iterator[ImageSource]:
    """Yield the sources of some paths; files that follow each other are one source."""
    files: list[FileSource] = []
    for path in paths:
        if is_collection(path):
            source = open_images(path, labels=False)
        else:
            source = FileSource.from_paths([path])
        if isinstance(source, FileSource):
            files.append(source)
            continue
        if files:
            yield _as_one(files)
        files = []
        yield source
    if files:
        yield _as_one(files)


def _as_one(sources: list[FileSource]) -> FileSource:
    # The table has sizes and times: on a network disk, to look each file up again takes long.
    notes = SourceNotes.merge(source.notes for source in sources)
    return FileSource(Path(), JoinedSource(sources).table, notes)
