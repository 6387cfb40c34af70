"""Evaluate: score a classifier on labelled images that it was not trained on, cached or not."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from bottleneck.cache import CacheLike, holds_codes, open_cache
from bottleneck.data import ImageSource, open_images, split_rows
from bottleneck.errors import LabelsError
from bottleneck.extraction import ComputeOptions
from bottleneck.fitting import (
    Classifier,
    JudgedSplit,
    LabelSource,
    Score,
    count_shared_groups,
    image_values,
    labelled_images,
)
from bottleneck.prediction.inputs import open_head
from bottleneck.prediction.judged_images import (
    JudgedImages,
    judge_cache,
    judged_rows,
    require_split,
    trained_rows,
)
from bottleneck.prediction.network import network_loader
from bottleneck.runtime import PreformattedText, format_rejected, require_left_out, require_options

if TYPE_CHECKING:
    from torch import nn

    from bottleneck.backbones import Backbone


@dataclass(frozen=True, eq=False)
class Evaluation(PreformattedText):
    r"""Score of a head, and the images that are not in it.

    Attributes
    ----------
    score : ClassificationScore or MultilabelScore
    rejected : dict of str to str
        Labelled images of the split that gave no codes at the head's layers, by path, and why.
    notes : tuple of str
        What ran the network, and why; empty for codes of a cache.

    Examples
    --------
    >>> from bottleneck.fitting.scoring.scores import score_classes
    >>> judged = score_classes(np.array([0, 1]), np.array([0, 0]), ["ants", "bees"], split="test")
    >>> evaluation = Evaluation(judged, {"c.jpg": "the file is empty"})
    >>> print(evaluation)
    held-out test  50.0% of 2 (95 % interval 9.5% to 90.5%), mean per class 50.0%
    true \ predicted  ants  bees
    ants                 1     0
    bees                 1     0
    rejected, and not in the score: c.jpg: the file is empty
    >>> evaluation.to_dict()["heldout"]["accuracy"]
    0.5
    """

    score: Score
    rejected: dict[str, str]
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        rejected = format_rejected(self.rejected, "rejected, and not in the score")
        return "\n".join([str(self.score), *rejected])

    def to_dict(self) -> dict[str, Any]:
        """Return the score, the rejected images and the notes as plain values."""
        return {
            "heldout": self.score.to_dict(),
            "rejected": self.rejected,
            "notes": list(self.notes),
        }


def evaluate(
    head: Classifier | str | os.PathLike[str],
    target: CacheLike | ImageSource,
    *,
    split: str | None = None,
    views: int | None = None,
    labels: LabelSource | None = None,
    model: "str | nn.Module | None" = None,
    weights: str | os.PathLike[str] | None = None,
    compute: ComputeOptions = ComputeOptions(),
) -> Evaluation:
    """Score a head or a tuned tail on labelled images.

    Images of a class that the head does not know are not scored: the score counts and names them.

    Parameters
    ----------
    head : Head, TunedTail or path
        A head, a tuned tail, or the file of one.
    target : path, Cache, object with an attribute ``cache``, or ImageSource
        A cache of the head's spec, or images with labels, as `bottleneck.extract` takes them.
    split : str, optional
        The split to score; by default the held-out one (``test``, else ``val``), and all images
        where there are no splits.
    views : int, optional
        Views of each image whose decision values are averaged, counted from the plain one. By
        default those that the head was trained with.
    labels : str, PathLike or LabelledImages, optional
        CSV with the columns ``path,label[,split][,group]`` that replaces a cache's labels.
    model : str or nn.Module, optional
        The network, if its file has moved or it was given as an object; it must be the same. A head
        on a cache needs none.
    weights : str or PathLike, optional
        The weights, if their file has moved; they must be the same.
    compute : ComputeOptions
        Device, and for images batch size and threads. The precision is that of the head's spec.

    Raises
    ------
    HeadError
        The file is neither a head nor a tuned tail.
    SpecMismatchError
        The codes have another spec than the head's.
    InvalidOptionError
        There are `labels` for images that are not in a cache.
    LabelsError
        There are no labelled images, or none of them gives codes or has a class of the head.
    UnknownNameError
        There is no such split.

    Examples
    --------
    >>> print(evaluate("head-svm-layer3.safetensors", "photos.cache"))  # doctest: +SKIP
    held-out test  75.0% of 4 (95 % interval 30.1% to 95.4%), mean per class 75.0%
    ...
    """
    require_options(compute=(compute, ComputeOptions))
    opened = open_head(head, views)
    network = network_loader(opened, model=model, weights=weights)
    notes: tuple[str, ...] = ()
    if holds_codes(target):
        cache = open_cache(target)
        opened.require(cache.spec, where=f"cache {cache.path}")  # before a network is loaded
        images = labelled_images(cache, labels).table
        ready = opened.with_network(network, compute.device)
        judged = judge_cache(ready, cache, images, require_split(images, split))
    else:
        require_left_out("images that are in no cache have their own", labels=labels)
        source = open_images(cast(ImageSource, target))
        ready = opened.with_network(network, compute.device)
        judged, notes = _judge_images(ready, network, source, split, compute)
    score = judged.score()
    return Evaluation(score, judged.rejected, (*notes, *_training_notes(ready, judged, score)))


def _judge_images(
    head: Classifier,
    network: "Callable[[], Backbone]",
    source: ImageSource,
    split: str | None,
    compute: ComputeOptions,
) -> tuple[JudgedImages, tuple[str, ...]]:
    """Encode and judge the labelled images of a split; return with it what ran the network."""
    from bottleneck.prediction.encoding import encode_images  # imports torch: not for a cache

    images = source.table
    split = require_split(images, split)
    where = f" in split {split!r}" if split else ""
    rows = split_rows(images, images.has_label, split)
    if not len(rows):
        raise LabelsError(
            f"no image{where} has a label, of {len(images)} such as {source.path(0)}: labels are "
            "the names of class folders, or a CSV's column"
        )
    rows, targets, unknown = judged_rows(head, images, rows, split)  # others are not encoded
    valid = np.zeros(len(rows), dtype=bool)
    rejected: dict[str, str] = {}
    values = []
    batches = encode_images(head, network(), source, rows.tolist(), compute=compute)
    for batch in batches:
        if len(batch.codes):
            values.append(image_values(head, batch.codes))  # codes may be large, and are not kept
        valid[np.searchsorted(rows, batch.row)] = batch.valid
        for i in np.flatnonzero(~batch.valid).tolist():
            rejected[images.path[int(batch.row[i])]] = batch.reason[i]
    if not values:
        path, reason = next(iter(rejected.items()))
        raise LabelsError(
            f"none of {len(rows)} labelled images{where} gave codes: {path}: {reason}"
        )
    rows = rows[valid]
    shared = count_shared_groups(images, rows, among=trained_rows(images, split))
    judged = JudgedImages(
        head,
        images,
        JudgedSplit(split, unknown=unknown, shared_groups=shared),
        row=rows,
        values=np.concatenate(values, axis=1),
        targets=targets[valid],
        rejected=rejected,
    )
    return judged, batches.notes


def _training_notes(head: Classifier, judged: JudgedImages, score: Score) -> tuple[str, ...]:
    """Say that these may be images that a head was trained on, by their split or their number."""
    trained = int(judged.images.split.equals("train")[judged.row].sum())
    if score.split == "" and 0 < trained < score.n:
        return (
            f"{trained} of these images are in the split 'train': if the head was trained on them, "
            "their accuracy says nothing about others (`split` judges one split)",
        )
    if score.split not in ("", "train") or head.training_record.get("train") != score.n:
        return ()
    return (
        f"the head was trained on {score.n} images, as many as are judged here: if on these, their "
        "accuracy says nothing about others",
    )
