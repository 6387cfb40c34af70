"""The classifiers "svm" and "softmax", trained for a sequence of C.

Both minimise scikit-learn's objectives, ½‖w‖² + C Σᵢ sᵢ ℓ(yᵢ, xᵢ·w). "svm" is LinearSVC: the
squared hinge, one class against the rest, with the intercept penalised as one more coefficient.
"softmax" is LogisticRegression: the log loss over all classes, or of one margin for two classes,
with an intercept that is not penalised.
"""

import math
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from bottleneck.errors import InvalidOptionError, UnknownNameError
from bottleneck.linear.matrix import CodeMatrix
from bottleneck.linear.solver.arithmetic import SMALL_DECOMPOSITION, exact_float32, single_thread
from bottleneck.linear.solver.design import Intercept, ToDevice, keep_numpy
from bottleneck.linear.solver.eigenbasis import make_design
from bottleneck.linear.solver.losses import Logistic, Loss, Softmax, SquaredHinge
from bottleneck.linear.solver.path import RegularizationPath

CLASSIFIERS = ("svm", "softmax")
MAX_C = 1e30  # numbers of float32 overflow not far above

# What each of two classes has of the one margin between them. The softmax of -m/2 and m/2 is the
# logistic function of m.
_SHARE_OF_MARGIN = {"svm": 1.0, "softmax": 0.5}

ClassWeight = Literal["balanced"] | NDArray[np.float64] | None


def prepare_path(
    codes: CodeMatrix,
    targets: NDArray[Any],
    *,
    clf: str,
    classes: int,
    max_c: float = math.inf,
    class_weight: ClassWeight = None,
    row_weight: NDArray[np.float64] | None = None,
    fit_intercept: bool = True,
    device: str | None = None,
) -> RegularizationPath:
    """Decompose the rows of a classifier once, to solve for any sequence of C.

    Parameters
    ----------
    codes : CodeMatrix
        n rows of d features.
    targets : ndarray of int64, shape (n,), or of bool, shape (n, k)
        Class of each row; or which of k labels it has, each learned against the rest.
    clf : str
        ``"svm"`` or ``"softmax"``.
    classes : int
        Number of classes or labels, k.
    max_c : float
        Largest C that will be solved; if it is small, the rows need no decomposition.
    class_weight : None, "balanced" or ndarray of float64, shape (k,)
        ``"balanced"`` gives every class the same total weight.
    row_weight : ndarray of float64, shape (n,), optional
        Weight of each row, not negative; rows of weight 0 are left out. 1 unless given.
    fit_intercept : bool
        Whether the classifier has an intercept.
    device : str, optional
        ``"cpu"``, ``"cuda"`` or ``"cuda:N"`` computes with torch on that device, ``"auto"`` on a
        GPU if there is one. NumPy unless given.

    Returns
    -------
    RegularizationPath
        For two classes its solutions have one row of coefficients, those of the second class.

    Raises
    ------
    UnknownNameError
        There is no classifier of that name.
    InvalidOptionError
        There is no such device.

    Examples
    --------
    >>> from bottleneck.linear.matrix import ArrayMatrix
    >>> codes = ArrayMatrix(np.array([[-2.0], [-1.0], [1.0], [2.0]]))
    >>> path = prepare_path(codes, np.array([0, 0, 1, 1]), clf="svm", classes=2)
    >>> for solution in path.solve([0.1, 1.0], tol=1e-9):
    ...     print(solution.c, solution.coef.round(3).tolist(), solution.converged.tolist())
    0.1 [[0.4]] [True]
    1.0 [[0.8]] [True]
    """
    require_classifier(clf)
    to_device = array_mover(device)
    rows, columns = _weights(targets, classes, class_weight, row_weight, clf=clf)
    if rows is not None and not rows.all():
        kept = np.flatnonzero(rows)
        codes, targets, rows = codes.take(kept), targets[kept], rows[kept]
    intercept: Intercept = "none"
    if fit_intercept:
        intercept = "penalised" if clf == "svm" else "free"
    one = _one_margin(targets, classes)
    weights = {} if columns is None else {"column_weight": to_device(columns.astype(codes.dtype))}
    loss = _loss(targets, classes, clf=clf)(to_device(np.arange(1 if one else classes)), **weights)
    n, d = codes.shape
    is_small = codes.in_memory and n * d * min(n, d) <= SMALL_DECOMPOSITION
    with single_thread(when=is_small), exact_float32(loss.columns):
        design = make_design(
            codes,
            (targets == 1)[:, None] if one else targets,
            intercept=intercept,
            weight=rows,
            max_curvature=loss.curvature_at_zero * max_c,
            to_device=to_device,
        )
    start = None
    if intercept == "free":
        start = to_device(_best_constant(targets, classes, rows, columns).astype(codes.dtype))
    return RegularizationPath(design, loss, start)


def _best_constant(
    targets: NDArray[Any],
    classes: int,
    rows: NDArray[np.float64] | None,
    columns: NDArray[np.float64] | None,
) -> NDArray[np.float64]:
    """Return the intercepts that minimise the log loss at zero coefficients, shape (q,).

    A class without rows counts as half a row: its intercept would be infinite otherwise.
    """
    each = np.ones(len(targets)) if rows is None else rows

    def log(weights: NDArray[Any]) -> NDArray[Any]:
        return np.log(np.where(weights > 0, weights, each.mean() / 2))

    if targets.ndim == 1:
        logs = log(np.bincount(targets, each, minlength=classes))
        return np.asarray(logs[1:] - logs[:1] if classes == 2 else logs - logs.mean())
    both = np.stack([each @ targets, each @ ~targets])
    if columns is not None:
        both *= columns
    logs = log(both)
    return np.asarray(logs[0] - logs[1])


def _one_margin(targets: NDArray[Any], classes: int) -> bool:
    return targets.ndim == 1 and classes == 2


def _loss(targets: NDArray[Any], classes: int, *, clf: str) -> type[Loss]:
    if clf == "svm":
        return SquaredHinge
    # Labels that do not exclude each other have a log loss each; so do two classes.
    return Softmax if targets.ndim == 1 and not _one_margin(targets, classes) else Logistic


def _weights(
    targets: NDArray[Any],
    classes: int,
    class_weight: ClassWeight,
    rows: NDArray[np.float64] | None,
    *,
    clf: str,
) -> tuple[NDArray[np.float64] | None, NDArray[np.float64] | None]:
    """Return the weights of rows, shape (n,), and of each column's own and other rows, (2, q)."""
    if class_weight is None:
        return rows, None
    each = np.ones(len(targets)) if rows is None else rows
    total, several, least = each.sum(), targets.ndim == 2, each[each > 0].min()
    if isinstance(class_weight, str) and several:
        right = np.clip(each @ targets, least, total - least)
        return rows, total / (2 * np.stack([right, total - right]))
    if isinstance(class_weight, str):
        of_each = np.bincount(targets, each, minlength=classes)
        of_class = total / (classes * np.maximum(of_each, least))
    else:
        of_class = class_weight
    if several or (clf == "svm" and not _one_margin(targets, classes)):
        # LIBLINEAR applies a class weight to the rows of the class, not to the rest.
        return rows, np.stack([of_class, np.ones(classes)])
    weight = of_class[targets]
    return (weight if rows is None else rows * weight), None


def require_classifier(clf: str) -> None:
    """Raise an error unless a classifier has this name.

    Raises
    ------
    UnknownNameError, InvalidOptionError

    Examples
    --------
    >>> require_classifier("softmax")
    >>> require_classifier("sofmax")
    Traceback (most recent call last):
    bottleneck.errors.UnknownNameError: unknown classifier 'sofmax': did you mean softmax?
    """
    if not isinstance(clf, str):
        raise InvalidOptionError("clf", clf, f"one of {', '.join(CLASSIFIERS)}")
    if clf not in CLASSIFIERS:
        raise UnknownNameError("classifier", clf, CLASSIFIERS)


def expand_binary(
    clf: str, coef: NDArray[np.float64], intercept: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Give each of two classes a row of coefficients, from the one row of a binary classifier.

    The one margin m becomes -m and m for "svm", and -m/2 and m/2 for "softmax", so that the
    softmax of both is the logistic function of m.

    Parameters
    ----------
    clf : str
        ``"svm"`` or ``"softmax"``.
    coef : ndarray of float64, shape (1, d)
    intercept : ndarray of float64, shape (1,)

    Returns
    -------
    coef : ndarray, shape (2, d)
    intercept : ndarray, shape (2,)

    Examples
    --------
    >>> coef, intercept = expand_binary("softmax", np.array([[2.0, 4.0]]), np.array([1.0]))
    >>> coef.tolist(), intercept.tolist()
    ([[-1.0, -2.0], [1.0, 2.0]], [-0.5, 0.5])
    """
    both = np.array([-1.0, 1.0]) * _SHARE_OF_MARGIN[clf]
    return both[:, None] * coef, both * intercept


def expand_margin(clf: str, margin: NDArray[Any]) -> NDArray[Any]:
    """Give each of two classes a decision value, as coefficients by `expand_binary` do.

    Parameters
    ----------
    clf : str
        ``"svm"`` or ``"softmax"``.
    margin : ndarray, shape (n, 1)
        Of the second class.

    Returns
    -------
    ndarray, shape (n, 2)

    Examples
    --------
    >>> expand_margin("softmax", np.array([[3.0]])).tolist()
    [[-1.5, 1.5]]
    """
    return np.hstack([-_SHARE_OF_MARGIN[clf] * margin, _SHARE_OF_MARGIN[clf] * margin])


def array_mover(device: str | None) -> ToDevice:
    """Return a function that converts NumPy arrays for computations on a device.

    Parameters
    ----------
    device : str or None
        ``"cpu"``, ``"cuda"`` or ``"cuda:N"`` for tensors on that device; None for NumPy arrays,
        and ``"auto"`` for tensors on a GPU if there is one, else NumPy arrays.

    Raises
    ------
    InvalidOptionError
        This machine has no such device.

    Examples
    --------
    >>> array = np.ones(2)
    >>> array_mover(None)(array) is array
    True
    """
    if device is None:
        return keep_numpy
    import torch  # slow to import, and needed for a device alone

    from bottleneck.runtime import choose_device

    target = choose_device(device)
    if device == "auto" and target.type == "cpu":  # NumPy is faster there
        return keep_numpy
    return lambda array: torch.from_numpy(np.require(array, requirements=["C", "W"])).to(target)
