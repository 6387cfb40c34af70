"""Evaluate: a head on labelled images that it has not seen, cached or not."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bottleneck.cache.manifest import is_cache
from bottleneck.cache.store import open_cache
from bottleneck.data.labels import encode_targets, heldout_split, split_rows
from bottleneck.data.table import ImageTable, open_images
from bottleneck.errors import InvalidOptionError, LabelsError, UnknownNameError
from bottleneck.fitting.dataset import require_rows
from bottleneck.fitting.fit import score_head
from bottleneck.fitting.head import Head
from bottleneck.fitting.metrics import ClassificationScore, MultilabelScore
from bottleneck.fitting.sharded_matrix import open_matrix
from bottleneck.linear.matrix import ArrayMatrix


def evaluate(
    head: Head,
    target: Path,
    *,
    split: str | None = None,
    model: str | None = None,
    weights: str | None = None,
    device: str = "auto",
    batch_size: int | None = None,
) -> tuple[ClassificationScore | MultilabelScore, dict[str, str]]:
    """Judge a head.

    Parameters
    ----------
    head : Head
    target : Path
        A cache of the head's spec, or images with labels.
    split : str, optional
        Which rows; the held-out split unless given, and all where there are no splits.
    model, weights, device, batch_size
        As in `bottleneck.prediction.predict.predict`; only for images.

    Returns
    -------
    score : ClassificationScore or MultilabelScore
    rejected : dict of str to str
        Labelled images of the split that gave no codes, and why. They are not in the score.

    Raises
    ------
    SpecMismatchError
        The codes are of another spec than the head's.
    LabelsError
        No labelled images, or labels that the head does not know.
    """
    if is_cache(target):
        return _evaluate_cache(head, target, split)
    from bottleneck.prediction.predict import encode_files  # only here is a network needed

    root, images = open_images(target)
    split = _split(images, split)
    rows = split_rows(images, images.has_label, split)
    kept, codes, rejected = [], [], {}
    encoded = encode_files(
        head,
        [root / images.path[row] for row in rows.tolist()],
        model=model,
        weights=weights,
        device=device,
        batch_size=batch_size,
    )
    for row, (_, code, reason) in zip(rows.tolist(), encoded, strict=True):
        if code is None:
            rejected[images.path[row]] = reason
        else:
            kept.append(row)
            codes.append(code)
    if not kept:
        where = f"in split {split!r} " if split else ""
        raise LabelsError(
            f"no labelled image of {target} {where}gave codes: labels are the names of class "
            "folders, or a CSV's column"
        )
    targets = _targets(head, images, np.array(kept, dtype=np.int64))
    return score_head(head, ArrayMatrix(np.stack(codes)), targets, split=split), rejected


def _evaluate_cache(
    head: Head, path: Path, split: str | None
) -> tuple[ClassificationScore | MultilabelScore, dict[str, str]]:
    cache = open_cache(path)
    head.require(cache.spec, where=f"cache {path}")
    images = cache.images
    usable = cache.valid_rows(head.layer)
    split = _split(images, split)
    wanted = split_rows(images, images.has_label, split)
    rows = wanted[usable[wanted]]
    reasons = cache.rejected()
    rejected = {images.path[row]: reasons[row] for row in wanted.tolist() if row in reasons}
    require_rows(rows, split=split)
    codes = open_matrix(cache, head.layer, rows, memory=None)
    return score_head(head, codes, _targets(head, images, rows), split=split), rejected


def _targets(head: Head, images: ImageTable, rows: NDArray[np.int64]) -> NDArray[Any]:
    return encode_targets(images, rows, head.classes, multilabel=head.multilabel)


def _split(images: ImageTable, split: str | None) -> str:
    if split is None:
        return heldout_split(images)
    known = sorted(set(images.split))
    if known == [""]:
        raise InvalidOptionError(
            "split", split, "left out: these images have no splits, and all are judged"
        )
    if split not in known:
        raise UnknownNameError("split", split, [name for name in known if name])
    return split
