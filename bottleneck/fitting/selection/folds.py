"""Cross-validation folds that keep the rows of a group together."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bottleneck.errors import InvalidOptionError, LabelsError
from bottleneck.linear import TrainingSet
from bottleneck.runtime import format_names

_SEED = 0  # the same rows always have the same folds
_ROUNDS = 3  # in which a group is assigned, or moved; more changed little
_WITHOUT_FOLDS = "train without cross-validation: `bottleneck.fit` with one value of `c` and `cv=0`"

Fold = tuple[NDArray[np.int64], NDArray[np.int64]]
"""Training rows and validation rows of a fold, ascending."""


def make_folds(training: TrainingSet, folds: int) -> list[Fold]:
    """Split rows into folds, in the same way whenever the rows are the same.

    The folds are stratified by class. Rows with several labels an image are assigned at random;
    where some have none of the labels, so that each fold has its share of the others.
    Rows of one group are in one fold. Without groups, and for several labels, they are those of
    scikit-learn's StratifiedKFold, KFold and GroupKFold, shuffled with the seed 0; its import would
    take longer than the fit to a few hundred images.

    Parameters
    ----------
    training : TrainingSet
        Rows to split.
    folds : int
        Number of folds, at least 2; fewer are made where a class has fewer images or groups.

    Returns
    -------
    list of Fold
        Training rows and validation rows of each fold, ascending.

    Raises
    ------
    InvalidOptionError
        `folds` is below 2.
    LabelsError
        A class has too few images or groups for two folds.

    Examples
    --------
    >>> from bottleneck.linear.matrix import ArrayMatrix
    >>> training = TrainingSet(ArrayMatrix(np.zeros((6, 1))), np.array([0, 0, 0, 1, 1, 1]), 2)
    >>> [validation.tolist() for _, validation in make_folds(training, 3)]
    [[2, 4], [1, 5], [0, 3]]
    """
    require_folds(folds)
    targets, groups = training.targets, training.groups
    folds = min(folds, _smallest_class(training))
    several = training.multilabel
    stratum = np.asarray(targets.any(axis=1), dtype=np.int64) if several else targets
    if several and stratum.all():
        fold = _random_groups(np.arange(len(targets)) if groups is None else groups, folds)
    elif groups is None:
        fold = _stratified(stratum, folds)
    else:
        fold = stratified_groups(stratum, groups, training.classes, folds)
    splits = [(np.flatnonzero(fold != i), np.flatnonzero(fold == i)) for i in range(folds)]
    if not training.multilabel:
        _require_all_classes(training, splits)
    return splits


def _random_groups(groups: NDArray[np.int64], folds: int) -> NDArray[np.int64]:
    """Return the fold of each image: each fold has as many groups."""
    _, group = np.unique(groups, return_inverse=True)
    order = np.random.RandomState(_SEED).permutation(group.max() + 1)
    fold_of = np.empty_like(order)
    for i, part in enumerate(np.array_split(order, folds)):
        fold_of[part] = i
    return np.asarray(fold_of[group])


def _stratified(targets: NDArray[np.int64], folds: int) -> NDArray[np.int64]:
    """Return the fold of each image, dealt to them class by class and shuffled in each class."""
    random, dealt = np.random.RandomState(_SEED), 0
    _, first, counts = np.unique(targets, return_index=True, return_counts=True)
    by_class = np.split(np.argsort(targets, kind="stable"), np.cumsum(counts)[:-1])
    fold = np.empty(len(targets), np.int64)
    for k in np.argsort(first):
        own = np.sort((dealt + np.arange(counts[k])) % folds)
        random.shuffle(own)
        fold[by_class[k]] = own
        dealt += counts[k]
    return fold


def stratified_groups(
    targets: NDArray[np.int64], groups: NDArray[np.int64], classes: int, folds: int
) -> NDArray[np.int64]:
    """Assign groups to folds, so that each class has about its share in every fold.

    Groups are assigned one after the other, the largest and purest first, to the fold in which the
    sum of squared shares grows least: of each class, and of all images. Then each moves to where
    that sum is smaller, if it is. Groups of one image come last, by class: they fill up what the
    others left uneven. The classes are taken in the order of their first images, so that folds do
    not depend on the classes' names. scikit-learn's StratifiedGroupKFold looks at every class for
    every group, which took 21 s for 40 000 images of 1000 classes.

    Parameters
    ----------
    targets, groups : ndarray of int64, shape (n,)
        Class and group of each image.
    classes, folds : int

    Returns
    -------
    ndarray of int64, shape (n,)
        Fold of each image.

    Examples
    --------
    >>> stratified_groups(np.array([0, 0, 1, 1, 0, 1]), np.array([0, 0, 1, 1, 2, 3]), 2, 2).tolist()
    [0, 0, 1, 1, 1, 0]
    """
    targets = by_first_row(targets)
    _, group, size = np.unique(groups, return_inverse=True, return_counts=True)
    pairs, images = np.unique(group * classes + targets, return_counts=True)
    first = np.searchsorted(pairs, np.arange(len(size) + 1) * classes)  # a group's, in `pairs`
    class_of = pairs % classes
    weight = 1.0 / np.maximum(np.bincount(targets, minlength=classes), 1) ** 2
    squares = np.add.reduceat(images**2 * weight[class_of], first[:-1])
    order = np.random.default_rng(_SEED).permutation(len(size))
    order = order[np.argsort(-squares[order], kind="stable")]
    fold = np.full(len(size), -1)
    counts, total = np.zeros((folds, classes), np.int64), np.zeros(folds, np.int64)
    for one in order[size[order] > 1].tolist() * _ROUNDS:
        part = slice(first[one], first[one + 1])
        own, added = class_of[part], images[part]
        if fold[one] >= 0:
            counts[fold[one], own] -= added
            total[fold[one]] -= size[one]
        growth = (counts[:, own] * (added * weight[own])).sum(axis=1)
        fold[one] = np.argmin(growth + total * size[one] / len(targets) ** 2)
        counts[fold[one], own] += added
        total[fold[one]] += size[one]
    alone = order[size[order] == 1]
    class_alone = class_of[first[alone]]
    for k in np.unique(class_alone).tolist():
        some = alone[class_alone == k]
        fold[some] = _fill_up(counts[:, k], total, len(some))
        total += np.bincount(fold[some], minlength=folds)
    return np.asarray(fold[group])


def _fill_up(counts: NDArray[np.int64], total: NDArray[np.int64], images: int) -> NDArray[np.int64]:
    """Return a fold for each new image of a class: always one that has fewest of the class."""
    levels = counts[:, None] + np.arange(images)
    totals = np.broadcast_to(total[:, None], levels.shape)
    return np.asarray(np.lexsort((totals.ravel(), levels.ravel()))[:images] // images)


def fewer_folds(made: int, asked: int) -> list[str]:
    """Return a line that says why `make_folds` made fewer folds than asked for; none if it did not.

    Parameters
    ----------
    made, asked : int
        Numbers of folds.

    Examples
    --------
    >>> fewer_folds(3, 5)
    ['3 folds in place of 5: each needs an image, or a group, of every class']
    >>> fewer_folds(5, 5)
    []
    """
    if made >= asked:
        return []
    return [f"{made} folds in place of {asked}: each needs an image, or a group, of every class"]


def require_folds(folds: int) -> None:
    """Refuse fewer than two folds.

    Raises
    ------
    InvalidOptionError
        `folds` is below 2.

    Examples
    --------
    >>> require_folds(5)
    """
    if folds < 2:
        raise InvalidOptionError("cv", folds, "at least 2 folds, or 0 for none")


def require_foldable(training: TrainingSet, names: Sequence[str]) -> None:
    """Refuse rows that cross-validation cannot split, and name the classes that are too small.

    Parameters
    ----------
    training : TrainingSet
        Rows to split.
    names : sequence of k str
        Class names.

    Raises
    ------
    LabelsError
        A class has too few images or groups for two folds.

    Examples
    --------
    >>> from bottleneck.linear.matrix import ArrayMatrix
    >>> training = TrainingSet(ArrayMatrix(np.zeros((4, 1))), np.array([0, 0, 1, 1]), 2)
    >>> require_foldable(training, ["ant", "bee"])
    """
    _smallest_class(training, names)


def group_codes(codes: NDArray[np.integer[Any]], names: Sequence[str]) -> NDArray[np.int64] | None:
    """Return the groups as numbers, in the order of their first rows.

    Folds follow these numbers, so that they do not depend on the groups' names. A row without a
    group name is a group of its own.

    Parameters
    ----------
    codes : ndarray of int, shape (n,)
        Index into `names` for each row.
    names : sequence of str
        Group names; the empty name means no group.

    Returns
    -------
    ndarray of int64, shape (n,), or None
        None where no row has a group name.

    Examples
    --------
    >>> group_codes(np.array([0, 1, 0, 1]), ["", "slide1"])
    array([0, 1, 2, 1])
    """
    unnamed = np.isin(codes, [code for code, name in enumerate(names) if not name])
    if unnamed.all():
        return None
    alone = -1 - np.arange(len(codes))
    return by_first_row(np.where(unnamed, alone, codes))


def by_first_row(values: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return distinct values as 0, 1, … in the order of their first rows.

    What is done in their order then depends on no names of classes or groups.

    Examples
    --------
    >>> by_first_row(np.array([7, 3, 7, 5])).tolist()
    [0, 1, 0, 2]
    """
    _, first, number = np.unique(values, return_index=True, return_inverse=True)
    return np.asarray(np.argsort(np.argsort(first))[number])


def _smallest_class(training: TrainingSet, names: Sequence[str] = ()) -> int:
    """Return the number of images or groups of the smallest class; at least 2.

    Of several labels an image, that of all images with a label, or their groups.
    """
    targets, groups, k = training.targets, training.groups, training.classes
    unit = "image" if groups is None else "group"
    if training.multilabel:
        labelled = np.flatnonzero(targets.any(axis=1))
        units = len(labelled if groups is None else np.unique(groups[labelled]))
        if units < 2:
            raise LabelsError(
                f"there is a single training {unit}: cross-validation needs 2",
                hint=f"add another {unit}, or {_WITHOUT_FOLDS}",
            )
        return units
    if groups is None:
        counts = np.bincount(targets, minlength=k)
    else:
        width = int(groups.max()) + 1
        counts = np.bincount(np.unique(targets * width + groups) // width, minlength=k)
    if counts.min() < 2:
        small = [repr(name) for name, count in zip(names, counts, strict=False) if count < 2]
        listed = f" ({format_names(small)})" if small else ""
        raise LabelsError(
            f"{(counts < 2).sum()} of {len(counts)} classes have a single training {unit}"
            f"{listed}: cross-validation needs 2 in each",
            hint=f"add images, leave the class out with a CSV of `labels`, or {_WITHOUT_FOLDS}",
        )
    return int(counts.min())


def _require_all_classes(training: TrainingSet, splits: Sequence[Fold]) -> None:
    for rows, _ in splits:
        if np.bincount(training.targets[rows], minlength=training.classes).min() == 0:
            fewer = "fewer folds with `cv`" if len(splits) > 2 else "`cv=0` and one value of `c`"
            raise LabelsError(
                f"with {len(splits)} folds the groups of a class are all in one fold: "
                f"give {fewer}, or smaller groups"
            )
