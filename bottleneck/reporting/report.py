"""Report: one HTML page about a cache and a head."""

import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from bottleneck.cache import CacheLike, open_cache
from bottleneck.data import ImageSource, LabelledImages, open_images
from bottleneck.errors import LabelsError
from bottleneck.fitting import Classifier, LabelSource, labelled_images
from bottleneck.prediction import network_loader, open_head
from bottleneck.reporting.collect import collect
from bottleneck.reporting.findings import Request
from bottleneck.reporting.page import make_page
from bottleneck.reporting.report_result import ReportResult
from bottleneck.reporting.sections.verdict import verdict
from bottleneck.reporting.thumbnails import Thumbnails
from bottleneck.runtime import (
    OnProgress,
    ignore_progress,
    require_positive,
    require_writable_output,
    write_text_atomic,
)

if TYPE_CHECKING:
    from torch import nn

MAX_BYTES = 8 << 20  # of pictures: what a mail still carries


def report(
    cache: CacheLike,
    head: Classifier | str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    images: str | os.PathLike[str] | ImageSource | None = None,
    labels: LabelSource | None = None,
    layers: str | Sequence[str] = "all",
    max_bytes: int = MAX_BYTES,
    overwrite: bool = False,
    model: "str | nn.Module | None" = None,
    weights: str | os.PathLike[str] | None = None,
    device: str = "auto",
    on_progress: OnProgress = ignore_progress,
) -> ReportResult:
    """Write one HTML page about a cache and a head, with all that it shows inside.

    Its sections: the verdict with its interval and the best constant answer, a table of the
    classes, the confusion matrix whose cells open their images, the most confident mistakes, labels
    to check and near duplicates by `bottleneck.audit`, reliability, accuracy by layer by
    `bottleneck.sweep`, the least certain images, rejected files, and how all of it was made.

    The head is judged on the held-out split. Where there is none, and the head was trained on these
    images, each is judged by a head that was trained without it.

    Parameters
    ----------
    cache : str, PathLike, Cache or object with a ``cache``
        Cache with labels, of the head's spec. It is only read.
    head : Head, TunedTail or path
        A head; or a tuned tail, whose boundary the cache has.
    out : path-like
        The page.
    images : path-like or ImageSource, optional
        The cache's images, as `bottleneck.extract` takes them, for thumbnails. Without them, and
        for those that are not found there, the page has names alone, and says so.
    labels : str, PathLike or LabelledImages, optional
        CSV with the columns ``path,label[,split][,group]`` that replaces the cache's labels.
    layers : str or sequence of str
        Layers that are compared, and whose codes tell duplicates; unless given all, but no maps
        beside codes (``x@none``).
    max_bytes : int
        Most bytes of all thumbnails in the page.
    overwrite : bool
        Whether a file that exists may be replaced.
    model : str or nn.Module, optional
        The network of a tuned tail, if its file has moved or it was given as an object.
    weights : str or PathLike, optional
        Its weights, if their file has moved.
    device : str
        Where a tuned tail computes.
    on_progress : callable, optional
        Called with the `Progress` of each stage: images are compared with all others, classifiers
        are trained to judge images in folds, to examine labels, to compare layers, and for the
        learning curve.

    Returns
    -------
    ReportResult

    Raises
    ------
    InvalidOptionError, UnknownNameError
        `max_bytes` is below 1, or the cache has no such layer.
    OutputExistsError
        `out` exists, and `overwrite` is false.
    HeadError
        The file is neither a head nor a tuned tail, or it is a whole network, which reads images.
    SpecMismatchError
        The codes have another spec than the head's.
    LabelsError
        There is nothing to judge, or images have several labels each.
    CacheError, ShardError
        The cache is incomplete or damaged.
    ImagesNotFoundError
        There is nothing at `images`.

    Examples
    --------
    >>> import bottleneck as bn  # doctest: +SKIP
    >>> print(
    ...     bn.report("photos.cache", "head.safetensors", "report.html", images="photos")
    ... )  # doctest: +SKIP
    87.5% of the 846 images of the split test are classified correctly (95 % interval 85.1% to ...
    """
    start = time.monotonic()
    path = Path(out)
    require_positive("max_bytes", max_bytes)
    require_writable_output(path, overwrite=overwrite)
    store, opened = open_cache(cache), open_head(head)
    opened.require(store.spec, where=f"cache {store.path}")
    if opened.multilabel:
        raise LabelsError(
            "a report is about one class an image, and this head gives several labels: "
            "`bottleneck.evaluate` scores it"
        )
    source = None if images is None else open_images(images)
    ready = opened.with_network(network_loader(opened, model=model, weights=weights), device)
    thumbnails = Thumbnails(store, opened.features.layers[0], source, max_bytes)
    findings = collect(
        ready,
        store,
        labelled_images(store, labels),
        request=Request(
            _named(head) or "head.safetensors",
            str(path),
            _named(images),
            _named(labels),
            layers,
            max_bytes,
        ),
        thumbnails=thumbnails,
        on_progress=on_progress,
    )
    write_text_atomic(path, make_page(findings))
    return ReportResult(
        path=path,
        bytes=path.stat().st_size,
        score=findings.score,
        verdict=verdict(findings),
        thumbnails=str(thumbnails),
        shown=thumbnails.shown,
        wanted=thumbnails.wanted,
        unreadable=thumbnails.unreadable,
        seconds=time.monotonic() - start,
    )


def _named(given: object) -> str | None:
    """Return the path by which something was given; None for an object."""
    if isinstance(given, LabelledImages):
        return str(given.summary.csv) if given.summary else None
    return str(given) if isinstance(given, (str, os.PathLike)) else None
