"""Evaluate: a head on labelled images that it has not seen, cached or not."""

from pathlib import Path

import numpy as np

from bottleneck.errors import InvalidOptionError, LabelsError, UnknownNameError
from bottleneck.fit import heldout_split, rows_of_split, score_head
from bottleneck.head import Head
from bottleneck.images import ImageTable, find_images
from bottleneck.metrics import Score
from bottleneck.store import is_cache, open_cache


def evaluate(
    head: Head,
    target: Path,
    *,
    split: str | None = None,
    model: str | None = None,
    weights: str | None = None,
    device: str = "auto",
    batch_size: int = 64,
) -> tuple[Score, dict[str, str]]:
    """Judge a head.

    Parameters
    ----------
    head : Head
    target : Path
        A cache of the head's spec, or images with labels.
    split : str, optional
        Which rows; the held-out split unless given, and all where there are no splits.
    model, weights, device, batch_size
        As in `bottleneck.predict.predict`; only for images.

    Returns
    -------
    score : Score
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
    from bottleneck.predict import encode_paths  # only here is a network needed

    root, images = find_images(target)
    split = _split(images, split)
    rows = rows_of_split(images, images.labelled, split)
    kept, codes, rejected = [], [], {}
    encoded = encode_paths(
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
    found = score_head(head, np.stack(codes), images, np.array(kept, dtype=np.int64), split=split)
    return found, rejected


def _evaluate_cache(head: Head, path: Path, split: str | None) -> tuple[Score, dict[str, str]]:
    cache = open_cache(path)
    head.require(cache.spec, where=f"cache {path}")
    images = cache.images
    usable = cache.usable(head.layer)
    split = _split(images, split)
    wanted = rows_of_split(images, images.labelled, split)
    rows = wanted[usable[wanted]]
    reasons = cache.rejected()
    rejected = {images.path[row]: reasons[row] for row in wanted.tolist() if row in reasons}
    found = score_head(head, cache.read(head.layer, rows), images, rows, split=split)
    return found, rejected


def _split(images: ImageTable, split: str | None) -> str:
    if split is None:
        return heldout_split(images)
    known = sorted(set(images.split))
    if known == [""]:
        raise InvalidOptionError(
            f"--split {split!r}: these images have no splits; leave --split out to judge them all"
        )
    if split not in known:
        raise UnknownNameError("split", split, [name for name in known if name])
    return split
