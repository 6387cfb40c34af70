"""Folds: rows to learn from and rows held back, so that no group and no preprocessing leaks."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import GroupKFold, KFold, StratifiedGroupKFold, StratifiedKFold

from bottleneck.errors import InvalidOptionError, LabelsError
from bottleneck.linear.training import TrainingSet

_SEED = 0  # the folds are the same whenever the rows are

Fold = tuple[NDArray[np.int64], NDArray[np.int64]]


def make_folds(training: TrainingSet, folds: int) -> list[Fold]:
    """Rows to learn from and rows held back, ascending, of each fold; alike whenever rows are.

    Classes have their share in every fold; rows that may have several labels are dealt at random.

    Raises
    ------
    InvalidOptionError
        Fewer than two folds are asked for.
    LabelsError
        A class, or a class's groups, are too few for two folds.
    """
    require_folds(folds)
    targets, rows = training.targets, np.zeros(len(training.targets))
    grouped = training.groups is not None and any(training.groups)
    names = training.groups if grouped and training.groups is not None else [""] * len(rows)
    unit = np.array([name or f"\0{row}" for row, name in enumerate(names)])
    folds = min(folds, _fewest(training, unit, "group" if grouped else "image"))
    seeded = {"n_splits": folds, "shuffle": True, "random_state": _SEED}
    if training.multilabel:
        kind = GroupKFold(**seeded) if grouped else KFold(**seeded)
    else:
        kind = StratifiedGroupKFold(**seeded) if grouped else StratifiedKFold(**seeded)
    classes = None if training.multilabel else targets
    splits = list(kind.split(rows, classes, unit if grouped else None))
    if grouped and not training.multilabel:
        _require_all_classes(training, splits)
    return splits


def require_folds(folds: int) -> None:
    """Refuse a number of folds that nothing can be learnt from.

    Raises
    ------
    InvalidOptionError
    """
    if folds < 2:
        raise InvalidOptionError("cv", folds, "at least 2 folds, or 0 for none")


def _fewest(training: TrainingSet, unit: NDArray[Any], name: str) -> int:
    """The smallest number of images or groups that a class has; at least 2."""
    if training.multilabel:
        counts = [len(np.unique(unit))]
    else:
        counts = [len(np.unique(unit[training.targets == k])) for k in range(training.classes)]
    if min(counts) < 2:
        raise LabelsError(
            f"{sum(count < 2 for count in counts)} of {len(counts)} classes have a single "
            f"training {name}: cross-validation needs 2 in each; add images, or give one value "
            "of `c` and leave the cross-validation out with `cv=0`"
        )
    return min(counts)


def _require_all_classes(training: TrainingSet, splits: Sequence[Fold]) -> None:
    for here, _ in splits:
        if len(np.unique(training.targets[here])) < training.classes:
            fewer = "fewer folds with `cv`" if len(splits) > 2 else "`cv=0` and one value of `c`"
            raise LabelsError(
                f"with {len(splits)} folds the groups of a class all stand in one fold: "
                f"give {fewer}, or smaller groups"
            )
