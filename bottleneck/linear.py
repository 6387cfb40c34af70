"""Linear classifiers in scikit-learn's objectives and with its estimator interface.

Both minimise ½‖w‖² + C Σᵢ sᵢ ℓ(yᵢ, xᵢ·w). Here scikit-learn's own solvers do the work; a caller
sees `fit`, `coef_`, `intercept_`, `classes_` and `converged_`, whoever solves.
"""

import warnings
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.svm import LinearSVC

from bottleneck.errors import UnknownNameError

_MAX_ITER = 10_000


class _Reporting:
    """Fits without warnings, and says in `converged_` whether the solver met its tolerance."""

    n_iter_: Any
    max_iter: int

    def fit(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> Self:
        """Fit to codes of shape (n, d) and classes of shape (n,)."""
        with warnings.catch_warnings(action="ignore", category=ConvergenceWarning):
            super().fit(X, y, sample_weight)  # type: ignore[misc]
        self.converged_ = bool(np.max(self.n_iter_) < self.max_iter)
        return self


class LinearSVM(_Reporting, LinearSVC):  # type: ignore[misc, unused-ignore]
    """Squared hinge, one class against the rest, intercept penalised as one more feature.

    R.-E. Fan et al., "LIBLINEAR: a library for large linear classification", JMLR 9 (2008).

    Parameters
    ----------
    C : float
        Weight of the loss against ½‖w‖².
    class_weight : None or "balanced"
        ``"balanced"`` gives every class the same weight in all.

    Attributes
    ----------
    converged_ : bool
        Whether the solver met its tolerance.
    """

    def __init__(self, C: float = 1.0, *, class_weight: str | None = None) -> None:
        # The order in which coordinates are visited is random: seeded, so that fits repeat.
        super().__init__(C=C, class_weight=class_weight, max_iter=_MAX_ITER, random_state=0)


class SoftmaxRegression(_Reporting, LogisticRegression):  # type: ignore[misc, unused-ignore]
    """Multinomial log-loss (logistic for two classes), intercept not penalised.

    Parameters
    ----------
    C : float
        Weight of the loss against ½‖w‖².
    class_weight : None or "balanced"
        ``"balanced"`` gives every class the same weight in all.

    Attributes
    ----------
    converged_ : bool
        Whether the solver met its tolerance.
    """

    def __init__(self, C: float = 1.0, *, class_weight: str | None = None) -> None:
        super().__init__(C=C, class_weight=class_weight, max_iter=_MAX_ITER)


CLASSIFIERS: dict[str, type[LinearSVM] | type[SoftmaxRegression]] = {
    "svm": LinearSVM,
    "softmax": SoftmaxRegression,
}


def make_classifier(clf: str, *, c: float, class_weight: str | None) -> Any:
    """An unfitted classifier.

    Parameters
    ----------
    clf : str
        ``"svm"`` or ``"softmax"``.
    c : float
        Weight of the loss, above 0.
    class_weight : None or "balanced"

    Raises
    ------
    UnknownNameError
        There is no classifier of that name.
    """
    if clf not in CLASSIFIERS:
        raise UnknownNameError("classifier", clf, CLASSIFIERS)
    return CLASSIFIERS[clf](C=c, class_weight=class_weight)


def one_row_per_class(model: Any) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """A fitted classifier's coefficients with a row for each class, for two classes as well.

    scikit-learn keeps one row for two classes. Its margin m becomes -m and m for svm, and
    -m/2 and m/2 for softmax, whose exponentials then have the ratio that the logistic has.

    Returns
    -------
    coef : ndarray, shape (k, d)
    intercept : ndarray, shape (k,)
    """
    coef, intercept = np.asarray(model.coef_, float), np.asarray(model.intercept_, float)
    if len(model.classes_) > 2:
        return coef, intercept
    half = 0.5 if isinstance(model, SoftmaxRegression) else 1.0
    return np.vstack([-half * coef, half * coef]), np.hstack([-half * intercept, half * intercept])
