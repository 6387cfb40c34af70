"""Reference: the same classifiers by scikit-learn's own solvers, to compare with."""

import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.svm import LinearSVC

from bottleneck.linear.matrix import Codes
from bottleneck.linear.path import Solution

_ITERATIONS = 10_000


def sklearn_path(
    codes: Codes,
    targets: NDArray[Any],
    *,
    clf: str,
    cs: Sequence[float],
    classes: int,
    class_weight: str | None = None,
) -> Iterator[Solution]:
    """The same as `fit_path` by scikit-learn's solvers, as a reference.

    Parameters
    ----------
    codes, targets, clf, cs, classes
        As there; codes that are not in memory are read into it.
    class_weight : None or "balanced"

    Returns
    -------
    iterator of Solution
        Their gap is NaN: these solvers prove nothing.
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
