"""Classifiers: what the names svm and softmax mean, and their training over a path of C.

Both are scikit-learn's objectives, ½‖w‖² + C Σᵢ sᵢ ℓ(yᵢ, xᵢ·w). "svm" is LinearSVC's: the squared
hinge, one class against the rest, the intercept penalised as one more coefficient. "softmax" is
LogisticRegression's: the log loss over all classes, or of one margin for two, the intercept free.
"""

from collections.abc import Iterator, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from bottleneck.errors import UnknownNameError
from bottleneck.linear.design import Move, stay
from bottleneck.linear.eigenbasis import Intercept, make_design
from bottleneck.linear.losses import Logistic, Loss, Softmax, SquaredHinge
from bottleneck.linear.matrix import CodeMatrix
from bottleneck.linear.path import Solution, solve_path

CLASSIFIERS = ("svm", "softmax")

ClassWeight = Literal["balanced"] | NDArray[np.float64] | None


def fit_path(
    codes: CodeMatrix,
    targets: NDArray[Any],
    *,
    clf: str,
    cs: Sequence[float],
    classes: int,
    class_weight: ClassWeight = None,
    row_weight: NDArray[np.float64] | None = None,
    fit_intercept: bool = True,
    tol: float = 3e-5,
    max_passes: int = 1000,
    device: str | None = None,
) -> Iterator[Solution]:
    """Train a classifier for some C, each from the one before.

    Parameters
    ----------
    codes : CodeMatrix
        n rows of d features.
    targets : ndarray of int64, shape (n,), or of bool, shape (n, k)
        Each row's class; or which of k labels it has, each learnt against the rest.
    clf : str
        One of `CLASSIFIERS`.
    cs : sequence of float
        Ascending, each above 0.
    classes : int
        k.
    class_weight : None, "balanced" or ndarray of float64, shape (k,)
        ``"balanced"`` gives every class the same weight in all.
    row_weight : ndarray of float64, shape (n,), optional
        Each above 0.
    fit_intercept : bool
    tol : float
        How far an objective may be above its minimum, as a share of it.
    max_passes : int
        Over the rows, for one C.
    device : str, optional
        ``"cpu"``, ``"cuda"``, ... computes with torch there; NumPy unless given.

    Returns
    -------
    iterator of Solution
        One for each C, in order, solved as it is asked for. Two classes have one row of
        coefficients, that of the second class.

    Raises
    ------
    UnknownNameError
        There is no classifier of that name.
    """
    require_classifier(clf)
    move = array_mover(device)
    rows, columns = _weights(targets, classes, class_weight, row_weight, clf=clf)
    if rows is not None and not rows.all():  # a row without weight is no row
        kept = np.flatnonzero(rows)
        codes, targets, rows = codes.take(kept), targets[kept], rows[kept]
    intercept: Intercept = "none"
    if fit_intercept:
        intercept = "penalised" if clf == "svm" else "free"
    one = _one_margin(targets, classes)
    weights = {} if columns is None else {"column_weight": move(columns.astype(codes.dtype))}
    loss = _loss(targets, classes, clf=clf)(move(np.arange(1 if one else classes)), **weights)
    design = make_design(
        codes,
        (targets == 1)[:, None] if one else targets,
        intercept=intercept,
        weight=rows,
        max_curvature=loss.curvature_at_zero * max(cs, default=0.0),
        move=move,
    )
    start = None
    if intercept == "free":
        start = move(_best_constant(targets, classes, rows, columns).astype(codes.dtype))
    return solve_path(design, loss, cs, intercept=start, tol=tol, max_passes=max_passes)


def _best_constant(
    targets: NDArray[Any],
    classes: int,
    rows: NDArray[np.float64] | None,
    columns: NDArray[np.float64] | None,
) -> NDArray[np.float64]:
    """The intercepts that minimise the log loss of zero coefficients, shape (q,).

    A class without rows is given half of one, for else they would have no end.
    """
    each = np.ones(len(targets)) if rows is None else rows
    if targets.ndim == 1:
        logs = np.log(np.maximum(np.bincount(targets, each, minlength=classes), each.mean() / 2))
        return np.asarray(logs[1:] - logs[:1] if classes == 2 else logs - logs.mean())
    right = each @ targets
    both = np.stack([right, each.sum() - right])
    if columns is not None:
        both *= columns
    logs = np.log(np.maximum(both, each.mean() / 2))
    return np.asarray(logs[0] - logs[1])


def _one_margin(targets: NDArray[Any], classes: int) -> bool:
    return targets.ndim == 1 and classes == 2


def _loss(targets: NDArray[Any], classes: int, *, clf: str) -> type[Loss]:
    if clf == "svm":
        return SquaredHinge
    # Labels that do not exclude each other have a log loss each, and so have two classes.
    return Softmax if targets.ndim == 1 and not _one_margin(targets, classes) else Logistic


def _weights(
    targets: NDArray[Any],
    classes: int,
    class_weight: ClassWeight,
    rows: NDArray[np.float64] | None,
    *,
    clf: str,
) -> tuple[NDArray[np.float64] | None, NDArray[np.float64] | None]:
    """The weights of rows, shape (n,), and of columns' right and wrong rows, shape (2, q)."""
    if class_weight is None:
        return rows, None
    each = np.ones(len(targets)) if rows is None else rows
    total, several = each.sum(), targets.ndim == 2
    if isinstance(class_weight, str) and several:
        right = np.clip(each @ targets, each.min(), total - each.min())
        return rows, total / (2 * np.stack([right, total - right]))
    if isinstance(class_weight, str):
        of_class = total / (classes * np.bincount(targets, each, minlength=classes))
    else:
        of_class = class_weight
    if several or (clf == "svm" and not _one_margin(targets, classes)):
        # LIBLINEAR weighs a class where it is right; where it is the rest it counts as it is.
        return rows, np.stack([of_class, np.ones(classes)])
    weight = of_class[targets]
    return (weight if rows is None else rows * weight), None


def require_classifier(clf: str) -> None:
    """Refuse the name of no classifier.

    Raises
    ------
    UnknownNameError
    """
    if clf not in CLASSIFIERS:
        raise UnknownNameError("classifier", clf, CLASSIFIERS)


def expand_binary(
    clf: str, coef: NDArray[np.float64], intercept: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Coefficients of two classes with a row for each, as more classes have.

    The one margin m becomes -m and m for svm, and -m/2 and m/2 for softmax, whose exponentials then
    have the ratio that the logistic has.

    Returns
    -------
    coef : ndarray, shape (2, d)
    intercept : ndarray, shape (2,)
    """
    half = 0.5 if clf == "softmax" else 1.0
    return np.vstack([-half * coef, half * coef]), np.hstack([-half * intercept, half * intercept])


def array_mover(device: str | None) -> Move:
    """What brings NumPy's arrays to where they are computed with.

    Parameters
    ----------
    device : str or None
        As in `choose_device`; NumPy for None, and for ``"auto"`` without a GPU.

    Raises
    ------
    InvalidOptionError
        There is no such device here.
    """
    if device is None:
        return stay
    import torch  # only who asks for a device pays for it

    from bottleneck.runtime.devices import choose_device

    place = choose_device(device)
    if device == "auto" and place.type == "cpu":  # where NumPy is faster
        return stay
    return lambda array: torch.from_numpy(np.require(array, requirements=["C", "W"])).to(place)
