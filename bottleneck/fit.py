"""Fit: from the cached codes of one layer to a head, judged once on the held-out split."""

import dataclasses
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bottleneck.errors import InvalidOptionError, LabelsError, UnknownNameError
from bottleneck.head import Head
from bottleneck.images import ImageTable
from bottleneck.linear import CLASSIFIERS, one_row_per_class
from bottleneck.metrics import Score, score
from bottleneck.selection import (
    C_GRID,
    Selection,
    check_grid,
    choose_c,
    fit_model,
    make_preprocessing,
)
from bottleneck.store import Cache, layers_in, open_cache


@dataclass(frozen=True)
class Fit:
    """What `fit` found.

    Attributes
    ----------
    head : Head
        Trained on all training rows.
    c : float
        The C that was chosen.
    selection : Selection or None
        The search over C; None where it was left out.
    heldout : Score or None
        On the held-out split; None where there is none.
    train : int
        Training rows.
    converged : bool
        Whether the final solver met its tolerance.
    seconds : float
    """

    head: Head
    c: float
    selection: Selection | None
    heldout: Score | None
    train: int
    converged: bool
    seconds: float

    def to_json(self) -> dict[str, Any]:
        """Plain values, as ``fit --json`` prints them, beside the head's file name."""
        return {
            "clf": self.head.clf,
            "layer": self.head.layer,
            "c": self.c,
            "cv": self.selection.to_json() if self.selection else None,
            "heldout": self.heldout.to_json() if self.heldout else None,
            "train": self.train,
            "converged": self.converged,
            "seconds": self.seconds,
        }


def fit(
    cache: Path,
    *,
    clf: str,
    layer: str | None = None,
    c: Sequence[float] | None = None,
    cv: int = 5,
    preprocess: str = "standardize",
    class_weight: str | None = None,
) -> Fit:
    """Train a linear classifier on the codes of a layer. Needs no network and no images.

    Where a split other than ``train`` exists, it learns from ``train`` alone and is judged on
    ``test``, or else on ``val``. Without splits it learns from all rows.

    Parameters
    ----------
    cache : Path
        A cache with labels.
    clf : str
        ``"svm"`` or ``"softmax"``.
    layer : str, optional
        Needed where the cache has several.
    c : sequence of float, optional
        Values of C to choose from; `bottleneck.selection.C_GRID` unless given.
    cv : int
        Folds; 0 leaves the cross-validation out, with a single value of C.
    preprocess : str
        One of `bottleneck.head.PREPROCESSING`.
    class_weight : None or "balanced"

    Returns
    -------
    Fit

    Raises
    ------
    UnknownNameError, InvalidOptionError
        An option's value is not allowed.
    CacheError, ShardError
        The cache is not whole.
    LabelsError
        There are no labels, fewer than two classes, or too few images of one.
    """
    start = time.monotonic()
    grid = check_grid(C_GRID if c is None else c)
    _require_options(clf, preprocess, grid, cv)
    layer = choose_layer(cache, layer)
    store = open_cache(cache)
    images = store.images
    train_split, heldout_split = choose_splits(images)
    labelled = store.usable(layer) & images.labelled
    train = rows_of_split(images, labelled, train_split)
    names = _require_classes(images, train, train_split)

    codes, classes = store.read(layer, train), class_indices(images, train, names)
    selection = None
    if cv:
        selection = choose_c(
            codes,
            classes,
            clf=clf,
            grid=grid,
            folds=cv,
            preprocess=preprocess,
            class_weight=class_weight,
            groups=[images.group[row] for row in train.tolist()],
        )
    best = selection.best.c if selection else grid[0]
    pipeline = fit_model(
        codes, classes, clf=clf, c=best, preprocess=preprocess, class_weight=class_weight
    )
    head = _head(pipeline, store, clf=clf, layer=layer, names=names, preprocess=preprocess)
    heldout = None
    if heldout_split:  # once, and after everything has been chosen
        rows = rows_of_split(images, labelled, heldout_split)
        heldout = score_head(head, store.read(layer, rows), images, rows, split=heldout_split)
    result = Fit(
        head=head,
        c=best,
        selection=selection,
        heldout=heldout,
        train=len(train),
        converged=bool(pipeline["classify"].converged_),
        seconds=time.monotonic() - start,
    )
    return dataclasses.replace(result, head=dataclasses.replace(head, record=result.to_json()))


def choose_layer(cache: Path, layer: str | None) -> str:
    """The layer of a cache to learn from: the one that was asked for, or the only one.

    Raises
    ------
    UnknownNameError
        The cache has no such layer.
    InvalidOptionError
        None was asked for, and the cache has several or none.
    """
    known = layers_in(cache)
    if layer is not None:
        if layer not in known:
            raise UnknownNameError(
                f"layer of {cache}", layer, known, "(`bottleneck extract --layer` adds more)"
            )
        return layer
    if len(known) != 1:
        raise InvalidOptionError(
            f"{cache} has {len(known)} layers: choose one with --layer "
            f"({', '.join(known) or 'none is extracted yet'})"
        )
    return known[0]


def choose_splits(images: ImageTable) -> tuple[str, str]:
    """The split to learn from and the one to be judged on; empty names mean all rows and none.

    Raises
    ------
    LabelsError
        There are splits, but no ``train``.
    """
    found = _splits(images)
    if found <= {"", "train"}:
        return "", ""
    if "train" not in found:
        raise LabelsError(
            f"no image is in split 'train'; found {', '.join(sorted(found - {''}))}: name the "
            "training images' split train"
        )
    return "train", heldout_split(images)


def heldout_split(images: ImageTable) -> str:
    """The split to be judged on: ``test``, or else ``val``; empty where there is neither."""
    found = _splits(images)
    return next((split for split in ("test", "val") if split in found), "")


def _splits(images: ImageTable) -> set[str]:
    return {split for split, there in zip(images.split, images.exists, strict=True) if there}


def rows_of_split(images: ImageTable, usable: NDArray[np.bool_], split: str) -> NDArray[np.int64]:
    """The usable rows of a split (of all, where it is empty), ascending."""
    if not split:
        return np.flatnonzero(usable)
    return np.flatnonzero(usable & np.array([name == split for name in images.split]))


def class_indices(
    images: ImageTable, rows: NDArray[np.int64], names: Sequence[str]
) -> NDArray[np.int64]:
    """Each row's place in the list of class names, shape (n,).

    Raises
    ------
    LabelsError
        A label is not among the names.
    """
    index = {name: k for k, name in enumerate(names)}
    labels = [images.label[row] for row in rows.tolist()]
    unknown = Counter(label for label in labels if label not in index)
    if unknown:
        label, count = unknown.most_common(1)[0]
        raise LabelsError(
            f"{sum(unknown.values())} images have labels that the head does not know, for example "
            f"{label!r} ({count} images); it knows {', '.join(names[:12])}"
        )
    return np.array([index[label] for label in labels], dtype=np.int64)


def score_head(
    head: Head,
    codes: NDArray[np.float32],
    images: ImageTable,
    rows: NDArray[np.int64],
    *,
    split: str,
) -> Score:
    """Judge a head on some rows' codes.

    Raises
    ------
    LabelsError
        There are no such rows, or a label is unknown to the head.
    """
    if not len(rows):
        where = f" in split {split!r}" if split else ""
        raise LabelsError(
            f"no labelled image with codes{where}: labels are the names of class folders, or a "
            "CSV's column"
        )
    true = class_indices(images, rows, head.classes)
    return score(true, head.margins(codes).argmax(axis=1), head.classes, split=split)


def _require_options(clf: str, preprocess: str, grid: Sequence[float], cv: int) -> None:
    if clf not in CLASSIFIERS:
        raise UnknownNameError("classifier", clf, CLASSIFIERS)
    make_preprocessing(preprocess)
    if not cv and len(grid) > 1:
        raise InvalidOptionError(
            f"--cv 0 leaves nothing to choose among {len(grid)} values of C: give one with --c"
        )


def _require_classes(images: ImageTable, train: NDArray[np.int64], split: str) -> list[str]:
    counts = Counter(images.label[row] for row in train.tolist())
    if len(counts) < 2:
        found = ", ".join(f"{label!r} ({count} images)" for label, count in counts.items())
        where = f" in split {split!r}" if split else ""
        raise LabelsError(
            f"a classifier needs at least 2 classes{where}, found {found or 'no labelled image'}: "
            "put each class's images into a folder of its own, or give labels in a CSV"
        )
    return sorted(counts)


def _head(
    pipeline: Any, cache: Cache, *, clf: str, layer: str, names: list[str], preprocess: str
) -> Head:
    coef, intercept = one_row_per_class(pipeline["classify"])
    mean, scale = np.zeros(coef.shape[1]), np.ones(coef.shape[1])
    if preprocess == "standardize":
        mean, scale = pipeline["prepare"].mean_, pipeline["prepare"].scale_
    return Head(
        clf=clf,
        layer=layer,
        classes=names,
        coef=coef,
        intercept=intercept,
        preprocess=preprocess,
        mean=mean,
        scale=scale,
        spec=cache.spec,
        source=cache.source,
        record={},
    )
