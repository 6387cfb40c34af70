"""Linear classifiers with scikit-learn's estimator interface, on this package's solver.

Objectives and options are those of scikit-learn's LinearSVC and LogisticRegression, so that one may
stand where the other stood; here the minimum is reached faster, and how near it is is proved.
"""

import warnings
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import StratifiedKFold
from sklearn.utils.class_weight import compute_class_weight
from sklearn.utils.metaestimators import available_if
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from bottleneck.linear.calibration import Calibration, fit_temperature
from bottleneck.linear.classifiers import fit_path
from bottleneck.linear.matrix import ArrayMatrix
from bottleneck.linear.path import Solution

_FOLDS = 5  # of the margins that a temperature is learnt from


class _Linear(ClassifierMixin, BaseEstimator):  # type: ignore[misc, unused-ignore]
    """What both classifiers share."""

    _clf: ClassVar[str]

    def __init__(
        self,
        C: float = 1.0,
        *,
        fit_intercept: bool = True,
        class_weight: dict[Any, float] | str | None = None,
        tol: float = 3e-5,
        max_iter: int = 1000,
        device: str | None = None,
    ) -> None:
        self.C = C
        self.fit_intercept = fit_intercept
        self.class_weight = class_weight
        self.tol = tol
        self.max_iter = max_iter
        self.device = device

    def fit(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> Self:
        """Train on codes of shape (n, d) and classes of shape (n,).

        Raises
        ------
        ValueError
            Shapes or values that scikit-learn's estimators refuse, or a single class.
        """
        codes, targets, weight = self._validated(X, y, sample_weight)
        found = self._trained(codes, targets, weight)
        self.coef_, self.intercept_ = (
            found.coef.astype(codes.dtype),
            found.intercept.astype(codes.dtype),
        )
        self.n_iter_, self.gap_ = found.passes, found.gap
        self.converged_ = bool(found.converged.all())
        if not self.converged_:
            warnings.warn(
                f"{type(self).__name__} stopped after {found.passes} passes: the objective is "
                f"within {found.gap.max():.1e} of its minimum, not {self.tol:g}; raise max_iter, "
                "lower C, or scale the features",
                ConvergenceWarning,
                stacklevel=2,
            )
        return self

    def decision_function(self, X: ArrayLike) -> NDArray[Any]:
        """Margins, of shape (n, k), or of the second class, shape (n,), for two classes."""
        check_is_fitted(self)
        X = validate_data(self, X, dtype=[np.float64, np.float32], reset=False)
        margins = X @ self.coef_.T + self.intercept_
        return np.asarray(margins[:, 0] if len(self.classes_) == 2 else margins)

    def predict(self, X: ArrayLike) -> NDArray[Any]:
        """The class of the highest margin, shape (n,)."""
        margins = self.decision_function(X)
        best = (margins > 0).astype(np.intp) if margins.ndim == 1 else margins.argmax(axis=1)
        return np.asarray(self.classes_[best])

    def _validated(
        self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None
    ) -> tuple[NDArray[Any], NDArray[np.int64], NDArray[np.float64] | None]:
        """Codes, the places of their classes in `classes_`, and weights above 0."""
        if not (0 < self.C < np.inf and self.tol > 0 and self.max_iter >= 1):
            raise ValueError(
                "C and tol must be above 0, C finite, and max_iter at least 1. "
                f"Got C={self.C!r}, tol={self.tol!r}, max_iter={self.max_iter!r} instead."
            )
        codes, labels = validate_data(self, X, y, dtype=[np.float64, np.float32], order="C")
        check_classification_targets(labels)
        weight = None
        if sample_weight is not None:
            weight = _check_sample_weight(
                sample_weight, codes, dtype=np.float64, ensure_non_negative=True
            )
            # A row without weight is no row, and a class without rows is no class.
            kept = weight > 0
            codes, labels, weight = codes[kept], labels[kept], weight[kept]
        self.classes_, targets = np.unique(labels, return_inverse=True)
        if len(self.classes_) < 2:
            raise ValueError(
                f"{type(self).__name__} needs at least 2 classes, but the data contains only one "
                f"class: {self.classes_}"
            )
        return codes, targets, weight

    def _trained(
        self, codes: NDArray[Any], targets: NDArray[np.int64], weight: NDArray[np.float64] | None
    ) -> Solution:
        class_weight: Any = self.class_weight
        if class_weight is not None and class_weight != "balanced":
            class_weight = compute_class_weight(
                self.class_weight, classes=self.classes_, y=self.classes_[targets]
            )
            if class_weight.min() < 0:
                raise ValueError(f"class_weight must not be negative. Got {self.class_weight!r}.")
        (found,) = fit_path(
            ArrayMatrix(codes),
            targets,
            clf=self._clf,
            cs=[float(self.C)],
            classes=len(self.classes_),
            class_weight=class_weight,
            row_weight=weight,
            fit_intercept=self.fit_intercept,
            tol=self.tol,
            max_passes=self.max_iter,
            device=self.device,
        )
        return found


def _wants_probability(estimator: Any) -> bool:
    if not estimator.probability:
        raise AttributeError("predict_proba needs LinearSVM(probability=True)")
    return True


class LinearSVM(_Linear):
    """Squared hinge, one class against the rest, intercept penalised as one more coefficient.

    scikit-learn's ``LinearSVC(loss="squared_hinge", penalty="l2")``; R.-E. Fan et al., "LIBLINEAR:
    a library for large linear classification", JMLR 9 (2008).

    Parameters
    ----------
    C : float
        Weight of the loss against ½‖w‖².
    fit_intercept : bool
    class_weight : dict, "balanced" or None
        As in LinearSVC.
    tol : float
        How far an objective may be above its minimum, as a share of it; proved by duality.
    max_iter : int
        Passes over the rows.
    device : str, optional
        ``"cuda"``, ``"cpu"``, ... trains with torch there; NumPy unless given.
    probability : bool
        Whether to learn a temperature from cross-validated margins, for `predict_proba`; as SVC.

    Attributes
    ----------
    coef_ : ndarray of shape (k, d), or (1, d) for two classes
    intercept_ : ndarray of shape (k,), or (1,)
    classes_ : ndarray of shape (k,)
    n_iter_ : int
        Passes over the rows.
    gap_ : ndarray of shape (k,), or (1,)
        Each class's objective is within this share of its minimum.
    converged_ : bool
        Whether every gap is within `tol`; if not, a ConvergenceWarning said so.
    """

    _clf = "svm"

    def __init__(
        self,
        C: float = 1.0,
        *,
        fit_intercept: bool = True,
        class_weight: dict[Any, float] | str | None = None,
        tol: float = 3e-5,
        max_iter: int = 1000,
        device: str | None = None,
        probability: bool = False,
    ) -> None:
        super().__init__(
            C,
            fit_intercept=fit_intercept,
            class_weight=class_weight,
            tol=tol,
            max_iter=max_iter,
            device=device,
        )
        self.probability = probability

    def fit(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> Self:
        """Train on codes of shape (n, d) and classes of shape (n,).

        Raises
        ------
        ValueError
            Shapes or values that scikit-learn's estimators refuse, a single class, or with
            `probability` a class of a single row.
        """
        super().fit(X, y, sample_weight)
        if self.probability:
            self.calibration_ = self._calibrated(*self._validated(X, y, sample_weight))
        return self

    @available_if(_wants_probability)  # type: ignore[untyped-decorator, unused-ignore]
    def predict_proba(self, X: ArrayLike) -> NDArray[np.float64]:
        """Probabilities of shape (n, k), at a temperature learnt from margins of unseen rows."""
        check_is_fitted(self, "calibration_")
        return self.calibration_.probabilities(_both_sides(self.decision_function(X)))

    def _calibrated(
        self, codes: NDArray[Any], targets: NDArray[np.int64], weight: NDArray[np.float64] | None
    ) -> Calibration:
        fewest = int(np.bincount(targets).min())
        if fewest < 2:
            raise ValueError(
                "probability=True needs at least 2 rows of every class. "
                f"Got a class with {fewest} instead."
            )
        folds = StratifiedKFold(min(_FOLDS, fewest), shuffle=True, random_state=0)
        margins = np.empty((len(targets), len(self.coef_)))
        for train, unseen in folds.split(codes, targets):
            found = self._trained(
                codes[train], targets[train], None if weight is None else weight[train]
            )
            margins[unseen] = found.decision_function(codes[unseen])
        one_sided = len(self.classes_) == 2
        margins = _both_sides(margins[:, 0] if one_sided else margins)
        return fit_temperature(margins, targets, weight)


class SoftmaxRegression(_Linear):
    """Multinomial log loss (logistic for two classes), intercept not penalised.

    scikit-learn's ``LogisticRegression()``.

    Parameters
    ----------
    C, fit_intercept, class_weight, tol, max_iter, device
        As in `LinearSVM`; `class_weight` as in LogisticRegression.

    Attributes
    ----------
    coef_, intercept_, classes_, n_iter_, converged_
        As in `LinearSVM`.
    gap_ : ndarray of shape (1,)
        The objective is within this share of its minimum.
    """

    _clf = "softmax"

    def predict_proba(self, X: ArrayLike) -> NDArray[np.float64]:
        """Probabilities of shape (n, k)."""
        margins = self.decision_function(X)
        if margins.ndim == 1:
            margins = _both_sides(margins) / 2
        k = margins.shape[1]
        return Calibration(np.ones(k), np.zeros(k), independent=False).probabilities(margins)

    def predict_log_proba(self, X: ArrayLike) -> NDArray[np.float64]:
        """Logarithms of probabilities, shape (n, k)."""
        return np.log(self.predict_proba(X))


def _both_sides(margins: NDArray[Any]) -> NDArray[Any]:
    """Margins of shape (n, k) from those of a classifier that may have one for two classes."""
    return np.stack([-margins, margins], axis=1) if margins.ndim == 1 else margins
