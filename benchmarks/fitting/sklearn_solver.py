"""Wrap the solvers of scikit-learn in the signature of `search.solve_path`, for comparisons."""

import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.svm import LinearSVC

from bottleneck.linear.matrix import CodeMatrix
from bottleneck.linear.solver.path import Solution

_ITERATIONS = 10_000


def sklearn_path(
    codes: CodeMatrix,
    targets: NDArray[Any],
    *,
    clf: str,
    cs: Sequence[float],
    classes: int,
    class_weight: str | None = None,
) -> Iterator[Solution]:
    """Train scikit-learn's LinearSVC or LogisticRegression for each C.

    Parameters
    ----------
    codes : CodeMatrix
        n rows of d features; read into memory.
    targets : ndarray of int64, shape (n,), or of bool, shape (n, k)
        Class of each row, or which of k labels it has.
    clf : str
        ``"svm"`` or ``"softmax"``.
    cs : sequence of float
    classes : int
        Not used; `search.solve_path` needs it.
    class_weight : None or "balanced"

    Returns
    -------
    iterator of Solution
        Objective and gap are NaN, because these solvers give no bound.
    """
    rows = np.concatenate(list(codes.blocks()))
    columns = [targets] if targets.ndim == 1 else list(targets.T)
    for c in cs:
        fitted = [_sklearn_fitted(rows, column, clf, c, class_weight) for column in columns]
        coef = np.vstack([model.coef_ for model in fitted]).astype(np.float64)
        met = [np.max(model.n_iter_) < model.max_iter for model in fitted]
        yield Solution(
            c=c,
            coef=coef,
            intercept=np.concatenate([np.atleast_1d(model.intercept_) for model in fitted]),
            objective=np.full(len(fitted), np.nan),
            gap=np.full(len(fitted), np.nan),
            converged=np.array(met),
            passes=int(max(np.max(model.n_iter_) for model in fitted)),
        )


def _sklearn_fitted(
    rows: NDArray[Any], targets: NDArray[Any], clf: str, c: float, class_weight: str | None
) -> Any:
    options = {"C": c, "class_weight": class_weight, "max_iter": _ITERATIONS}
    # The order in which LIBLINEAR visits coordinates is random: seeded, so that fits repeat.
    model = LinearSVC(random_state=0, **options) if clf == "svm" else LogisticRegression(**options)
    with warnings.catch_warnings(action="ignore", category=ConvergenceWarning):
        return model.fit(rows, targets)
