"""Linear classifiers with scikit-learn's estimator interface and this package's solver.

Objectives and parameters are those of scikit-learn's LinearSVC and LogisticRegression, so that each
can replace the other. This solver is faster on many rows, and bounds the distance from the minimum.
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

from bottleneck.linear.calibration import allow_underflow, fit_temperature
from bottleneck.linear.classifiers import MAX_C, prepare_path
from bottleneck.linear.matrix import ArrayMatrix
from bottleneck.linear.solver.path import Solution

_FOLDS = 5  # that give the margins from which a temperature is learned


class _Linear(ClassifierMixin, BaseEstimator):  # type: ignore[misc, unused-ignore]
    """Base class of both classifiers."""

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
        """Train the classifier.

        Parameters
        ----------
        X : array-like of float, shape (n, d)
            Codes; float32 is not converted.
        y : array-like, shape (n,)
            Class of each row.
        sample_weight : array-like of float, shape (n,), optional
            Weight of each row, not negative; 1 unless given.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            Shapes or values that scikit-learn's estimators refuse, or a single class.
        """
        codes, targets, weight = self._validate(X, y, sample_weight)
        solution = self._solve(codes, targets, weight)
        self.coef_ = solution.coef.astype(codes.dtype)
        self.intercept_ = solution.intercept.astype(codes.dtype)
        self.n_iter_, self.gap_ = solution.passes, solution.gap
        self.converged_ = bool(solution.converged.all())
        if not self.converged_:
            warnings.warn(
                f"{type(self).__name__} stopped after {solution.passes} passes: the objective is "
                f"within {solution.gap.max():.1e} of its minimum, not {self.tol:g}; raise "
                "max_iter, lower C, or scale the features",
                ConvergenceWarning,
                stacklevel=2,
            )
        self._finish(codes, targets, weight)
        return self

    def _finish(
        self, codes: NDArray[Any], targets: NDArray[np.int64], weight: NDArray[np.float64] | None
    ) -> None:
        """Learn what a classifier learns besides its coefficients."""

    def decision_function(self, X: ArrayLike) -> NDArray[Any]:
        """Return margins of shape (n, k), or for two classes those of the second, shape (n,)."""
        check_is_fitted(self)
        X = validate_data(self, X, dtype=[np.float64, np.float32], reset=False)
        margins = X @ self.coef_.T + self.intercept_
        return np.asarray(margins[:, 0] if len(self.classes_) == 2 else margins)

    def predict(self, X: ArrayLike) -> NDArray[Any]:
        """Return the class with the highest margin, shape (n,)."""
        margins = self.decision_function(X)
        best = (margins > 0).astype(np.intp) if margins.ndim == 1 else margins.argmax(axis=1)
        return np.asarray(self.classes_[best])

    def _validate(
        self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None
    ) -> tuple[NDArray[Any], NDArray[np.int64], NDArray[np.float64] | None]:
        """Return the rows of positive weight: codes, indices into `classes_`, and weights."""
        if not (0 < self.C <= MAX_C and self.tol > 0 and self.max_iter >= 1):
            raise ValueError(
                f"C and tol must be above 0, C at most {MAX_C:g}, and max_iter at least 1. "
                f"Got C={self.C!r}, tol={self.tol!r}, max_iter={self.max_iter!r} instead."
            )
        codes, labels = validate_data(self, X, y, dtype=[np.float64, np.float32], order="C")
        check_classification_targets(labels)
        weight = None
        if sample_weight is not None:
            weight = _check_sample_weight(
                sample_weight, codes, dtype=np.float64, ensure_non_negative=True
            )
            # Rows of weight 0 are left out, and so are classes that have no other rows.
            kept = weight > 0
            codes, labels, weight = codes[kept], labels[kept], weight[kept]
        self.classes_, targets = np.unique(labels, return_inverse=True)
        if len(self.classes_) < 2:
            raise ValueError(
                f"{type(self).__name__} needs at least 2 classes, but the data contains only one "
                f"class: {self.classes_}"
            )
        return codes, targets, weight

    def _solve(
        self, codes: NDArray[Any], targets: NDArray[np.int64], weight: NDArray[np.float64] | None
    ) -> Solution:
        class_weight: Any = self.class_weight
        if class_weight is not None and class_weight != "balanced":
            class_weight = compute_class_weight(
                self.class_weight, classes=self.classes_, y=self.classes_[targets]
            )
            if class_weight.min() < 0 or class_weight.max() == 0:
                raise ValueError(
                    "class_weight must not be negative, nor 0 for every class. "
                    f"Got {self.class_weight!r} instead."
                )
        c = float(self.C)
        path = prepare_path(
            ArrayMatrix(codes),
            targets,
            clf=self._clf,
            classes=len(self.classes_),
            max_c=c,
            class_weight=class_weight,
            row_weight=weight,
            fit_intercept=self.fit_intercept,
            device=self.device,
        )
        (solution,) = path.solve([c], tol=self.tol, max_passes=self.max_iter)
        return solution


def _wants_probability(estimator: Any) -> bool:
    if not estimator.probability:
        raise AttributeError("predict_proba needs LinearSVM(probability=True)")
    return True


class LinearSVM(_Linear):
    """Linear support vector machine with the squared hinge loss, one class against the rest.

    The objective is that of scikit-learn's ``LinearSVC(loss="squared_hinge", penalty="l2")``, which
    penalises the intercept as one more coefficient; R.-E. Fan et al., "LIBLINEAR: a library for
    large linear classification", JMLR 9 (2008).

    Parameters
    ----------
    C : float
        Weight of the loss against the penalty ½‖w‖², above 0 and at most 1e30.
    fit_intercept : bool
        Whether the classifier has an intercept.
    class_weight : dict, "balanced" or None
        Weight of each class's own rows; ``"balanced"`` is n / (k · number of its rows).
    tol : float
        Largest relative distance of an objective from its minimum, bounded by duality.
    max_iter : int
        Largest number of passes over the rows.
    device : str, optional
        ``"cpu"``, ``"cuda"`` or ``"cuda:N"`` trains with torch on that device, ``"auto"`` on a
        GPU if there is one. NumPy unless given.
    probability : bool
        Whether `fit` also learns a temperature from cross-validated margins, which
        `predict_proba` needs.

    Attributes
    ----------
    coef_ : ndarray of shape (k, d), or (1, d) for two classes
        Coefficients.
    intercept_ : ndarray of shape (k,), or (1,)
        Intercepts.
    classes_ : ndarray of shape (k,)
        Names of the classes, sorted.
    n_iter_ : int
        Number of passes over the rows.
    gap_ : ndarray of shape (k,), or (1,)
        Upper bound of each objective's relative distance from its minimum.
    converged_ : bool
        Whether every gap is within `tol`; if not, `fit` emitted a ConvergenceWarning.

    Examples
    --------
    >>> import numpy as np
    >>> X = np.array([[-2.0, 0.0], [-1.0, 1.0], [1.0, 0.0], [2.0, 1.0]])
    >>> classifier = LinearSVM(C=1.0).fit(X, ["ant", "ant", "bee", "bee"])
    >>> classifier.predict([[-3.0, 0.5], [0.5, 0.5]]).tolist()
    ['ant', 'bee']
    >>> classifier.decision_function([[0.0, 0.0]]).shape, classifier.converged_
    ((1,), True)
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

    @available_if(_wants_probability)  # type: ignore[untyped-decorator, unused-ignore]
    def predict_proba(self, X: ArrayLike) -> NDArray[np.float64]:
        """Return probabilities of shape (n, k), from margins divided by the learned temperature."""
        check_is_fitted(self, "calibration_")
        return self.calibration_.probabilities(_margin_per_class(self.decision_function(X)))

    def _finish(
        self, codes: NDArray[Any], targets: NDArray[np.int64], weight: NDArray[np.float64] | None
    ) -> None:
        """Learn a temperature from margins of rows that the classifier was not trained on."""
        if not self.probability:
            self.__dict__.pop("calibration_", None)  # of an earlier fit, to other rows
            return
        fewest = int(np.bincount(targets).min())
        if fewest < 2:
            raise ValueError(
                "probability=True needs at least 2 rows of every class. "
                f"Got a class with {fewest} instead."
            )
        folds = StratifiedKFold(min(_FOLDS, fewest), shuffle=True, random_state=0)
        margins = np.empty((len(targets), len(self.coef_)))
        for train, unseen in folds.split(codes, targets):
            solution = self._solve(
                codes[train], targets[train], None if weight is None else weight[train]
            )
            margins[unseen] = solution.decision_function(codes[unseen])
        if len(self.classes_) == 2:
            margins = _margin_per_class(margins[:, 0])
        self.calibration_ = fit_temperature(margins, targets, weight)


class SoftmaxRegression(_Linear):
    """Logistic regression with the multinomial log loss and an intercept without penalty.

    The objective is that of scikit-learn's ``LogisticRegression()``: the softmax of all classes, or
    the logistic function of one margin for two classes.

    Parameters
    ----------
    C : float
        Weight of the loss against the penalty ½‖w‖², above 0 and at most 1e30.
    fit_intercept : bool
        Whether the classifier has an intercept.
    class_weight : dict, "balanced" or None
        Weight of the rows of each class; ``"balanced"`` is n / (k · number of its rows).
    tol : float
        Largest relative distance of the objective from its minimum.
    max_iter : int
        Largest number of passes over the rows.
    device : str, optional
        ``"cpu"``, ``"cuda"`` or ``"cuda:N"`` trains with torch on that device, ``"auto"`` on a
        GPU if there is one. NumPy unless given.

    Attributes
    ----------
    coef_ : ndarray of shape (k, d), or (1, d) for two classes
        Coefficients.
    intercept_ : ndarray of shape (k,), or (1,)
        Intercepts.
    classes_ : ndarray of shape (k,)
        Names of the classes, sorted.
    n_iter_ : int
        Number of passes over the rows.
    gap_ : ndarray of shape (1,)
        Bound of the objective's relative distance from its minimum; the intercept's part of it is
        estimated.
    converged_ : bool
        Whether the gap is within `tol`; if not, `fit` emitted a ConvergenceWarning.

    Examples
    --------
    >>> import numpy as np
    >>> X = np.array([[-2.0, 0.0], [-1.0, 1.0], [1.0, 0.0], [2.0, 1.0]])
    >>> classifier = SoftmaxRegression(C=1.0).fit(X, ["ant", "ant", "bee", "bee"])
    >>> classifier.predict([[-3.0, 0.5], [0.5, 0.5]]).tolist()
    ['ant', 'bee']
    >>> classifier.predict_proba([[0.0, 0.5]]).round(2).tolist()
    [[0.5, 0.5]]
    """

    _clf = "softmax"

    @allow_underflow
    def predict_proba(self, X: ArrayLike) -> NDArray[np.float64]:
        """Return probabilities of shape (n, k)."""
        return np.asarray(np.exp(self.predict_log_proba(X)))

    @allow_underflow
    def predict_log_proba(self, X: ArrayLike) -> NDArray[np.float64]:
        """Return logarithms of probabilities, shape (n, k); finite also where those are 0."""
        margins = self.decision_function(X)
        logits = (_margin_per_class(margins) / (2 if margins.ndim == 1 else 1)).astype(np.float64)
        logits -= logits.max(axis=1, keepdims=True)
        return np.asarray(logits - np.log(np.exp(logits).sum(axis=1, keepdims=True)))


def _margin_per_class(margins: NDArray[Any]) -> NDArray[Any]:
    """Return margins of shape (n, k), given those of shape (n,) for two classes."""
    return np.stack([-margins, margins], axis=1) if margins.ndim == 1 else margins
