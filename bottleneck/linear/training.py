"""Training: rows with what they are to be called, and one classifier learnt from them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from bottleneck.errors import InvalidOptionError, LabelsError, UnknownNameError
from bottleneck.fitting.metrics import METRICS
from bottleneck.linear.classifiers import array_mover, fit_path, require_classifier
from bottleneck.linear.matrix import Codes, FeatureScaler, fit_scaler
from bottleneck.linear.path import Solution

SOLVERS = ("path", "sklearn")
RULES = ("best", "1se")

SEARCH_TOL = 1e-3  # the predictions of minimisers that are nearer hardly differ
_FINAL_TOL = 1e-5  # so near that coefficients agree however the rows are read


@dataclass(frozen=True)
class Training:
    """Rows to learn from.

    Attributes
    ----------
    codes : Codes
        n rows.
    targets : ndarray of int64, shape (n,), or of bool, shape (n, k)
        Their classes, or for several labels an image which of k they have.
    classes : int
        k.
    groups : sequence of n str, or None
        Rows of one group never stand on both sides of a fold; an empty name is a group of its own.
    """

    codes: Codes
    targets: NDArray[Any]
    classes: int
    groups: Sequence[str] | None = None

    @property
    def multilabel(self) -> bool:
        """Whether a row may have several labels."""
        return self.targets.ndim == 2

    def take(self, rows: NDArray[np.int64]) -> "Training":
        """Only some rows, by ascending place."""
        return Training(self.codes.take(rows), self.targets[rows], self.classes)

    def prepared(self, preprocessing: FeatureScaler) -> "Training":
        """The same rows with their codes prepared."""
        return Training(self.codes.prepared(preprocessing), self.targets, self.classes)


@dataclass(frozen=True)
class Method:
    """How to learn from them, but for C and preprocessing.

    Attributes
    ----------
    clf : str
        ``"svm"`` or ``"softmax"``.
    class_weight : None or "balanced"
    metric : str
        One of `METRICS`; several labels an image are judged by mean average precision.
    rule : str
        ``"best"``, or ``"1se"`` for the smallest C within a standard error of the best.
    solver : str
        ``"path"``, this package's, or ``"sklearn"``.
    device : str or None
        Where ``"path"`` computes with torch, as `bottleneck.linear.classifiers.array_mover` has it.
    """

    clf: str
    class_weight: Literal["balanced"] | None = None
    metric: str = "accuracy"
    rule: str = "best"
    solver: str = "path"
    device: str | None = None

    def path(self, training: Training, cs: Sequence[float], *, tol: float) -> Iterator[Solution]:
        """Classifiers for some C, ascending, trained on prepared rows.

        Raises
        ------
        LabelsError
            Of several labels an image, none tells these rows apart.
        """
        if not training.multilabel:
            return self._path(training, cs, tol=tol)
        mixed = np.asarray(training.targets.any(axis=0) & ~training.targets.all(axis=0))
        if not mixed.any():
            raise LabelsError(
                f"all {len(training.targets)} images have the same labels: nothing can be learnt "
                "from them; use more images, or fewer folds with `cv`"
            )
        learnt = Training(training.codes, training.targets[:, mixed], int(mixed.sum()))
        return (
            _with_constants(found, training.targets, mixed)
            for found in self._path(learnt, cs, tol=tol)
        )

    def _path(self, training: Training, cs: Sequence[float], *, tol: float) -> Iterator[Solution]:
        if self.solver == "sklearn":
            from bottleneck.linear.sklearn_solver import (
                sklearn_path,  # slow to import, seldom wanted
            )

            return sklearn_path(
                training.codes,
                training.targets,
                clf=self.clf,
                cs=cs,
                classes=training.classes,
                class_weight=self.class_weight,
            )
        return fit_path(
            training.codes,
            training.targets,
            clf=self.clf,
            cs=cs,
            classes=training.classes,
            class_weight=self.class_weight,
            tol=tol,
            device=self.device,
        )

    def require(self) -> None:
        """Refuse values that are not known.

        Raises
        ------
        UnknownNameError, InvalidOptionError
        """
        require_classifier(self.clf)
        for name, value, known in [
            ("metric", self.metric, METRICS),
            ("rule", self.rule, RULES),
            ("solver", self.solver, SOLVERS),
        ]:
            if value not in known:
                raise UnknownNameError(name, value, known)
        if self.solver == "sklearn" and self.device is not None:
            raise InvalidOptionError(
                "device", self.device, "left out with `solver=sklearn`, which is of the CPU alone"
            )
        array_mover(self.device)

    def require_distributable(self) -> None:
        """Refuse what cannot be done where codes lie on other machines.

        Raises
        ------
        InvalidOptionError
        """
        for option, value, only in [
            ("solver", self.solver, "path"),
            ("device", self.device, None),
        ]:
            if value != only:
                raise InvalidOptionError(
                    option,
                    value,
                    "left out where codes lie on other machines",
                    "there they are computed with by NumPy and this package's solver alone",
                )


def train(
    training: Training, method: Method, *, c: float, preprocess: str
) -> tuple[FeatureScaler, Solution]:
    """FeatureScaler and classifier for one C, fitted to all rows."""
    preprocessing = fit_scaler(preprocess, training.codes)
    (solution,) = method.path(training.prepared(preprocessing), [c], tol=_FINAL_TOL)
    return preprocessing, solution


def _with_constants(
    found: Solution, targets: NDArray[np.bool_], mixed: NDArray[np.bool_]
) -> Solution:
    """The same with the labels that all rows have or none has, which have no minimiser.

    Their intercept is the logarithm of the odds by Laplace's rule of succession.
    """
    (n, k), d = targets.shape, found.coef.shape[1]
    odds = np.log(n + 1)
    coef, intercept = np.zeros((k, d)), np.where(targets[0], odds, -odds)
    coef[mixed], intercept[mixed] = found.coef, found.intercept
    return replace(found, coef=coef, intercept=intercept)
