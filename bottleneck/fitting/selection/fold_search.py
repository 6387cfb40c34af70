"""One fold of a cross-validation, scaled and decomposed once for every C that is tried."""

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bottleneck.fitting.scoring.metrics import answers_of, score_answers
from bottleneck.fitting.selection.folds import Fold
from bottleneck.linear import (
    KERNEL_ROWS,
    ClassifierOptions,
    Solution,
    TrainingSet,
    expand_margin,
)


class FoldSearch:
    """A scaling and classifiers fitted to a fold's training rows, judged on its validation rows.

    Parameters
    ----------
    training : TrainingSet
        Rows of all folds.
    fold : Fold
        Training rows and validation rows of this one.
    options : ClassifierOptions
        Classifier.
    scaling : str
        Scaling of the features.
    max_c : float
        Largest C that will be tried.

    Examples
    --------
    >>> from bottleneck.linear.matrix import ArrayMatrix
    >>> codes = ArrayMatrix(np.array([[0.0], [2.0], [5.0], [9.0]]))
    >>> training = TrainingSet(codes, np.array([0, 0, 1, 1]), classes=2)
    >>> fold = FoldSearch(
    ...     training,
    ...     (np.array([0, 3]), np.array([1, 2])),
    ...     ClassifierOptions("svm"),
    ...     scaling="standardize",
    ...     max_c=1.0,
    ... )
    >>> fold.scores(list(fold.solve([0.1, 1.0], tol=1e-3)), "accuracy")
    [1.0, 1.0]
    """

    def __init__(
        self,
        training: TrainingSet,
        fold: Fold,
        options: ClassifierOptions,
        *,
        scaling: str,
        max_c: float,
    ) -> None:
        rows, self._validation_rows = fold
        self._training, self._clf = training, options.clf
        part = training.take(rows)
        self._scaler = part.fit_scaler(scaling)
        self._solver = options.prepare(part.scaled(self._scaler), max_c=max_c)

    def solve(self, cs: Sequence[float], *, tol: float) -> Iterator[Solution]:
        """Train a classifier for each C, ascending, starting from those that are known."""
        return self._solver.solve(cs, tol=tol)

    def scores(self, solutions: Sequence[Solution], metric: str) -> list[float]:
        """Return the metric of each classifier on the validation rows, which are read once."""
        validation = self._validation()
        answer = partial(
            _answers, solutions=solutions, clf=self._clf, multilabel=validation.multilabel
        )
        answers = map(np.concatenate, zip(*validation.codes.map_blocks(answer), strict=True))
        return [
            score_answers(validation.targets, each, validation.classes, metric) for each in answers
        ]

    def decision_values(self, solution: Solution) -> NDArray[np.float64]:
        """Return the decision values of the validation rows, shape (n, k)."""
        values = partial(decision_values, solution=solution, clf=self._clf)
        return np.concatenate(list(self._validation().codes.map_blocks(values)))

    def _validation(self) -> TrainingSet:
        return self._training.take(self._validation_rows).scaled(self._scaler).averaged()


def fold_bytes(training: TrainingSet, cs: int) -> int:
    """Estimate the memory of a `FoldSearch`: rows, their products, basis, and minimisers.

    A fold has fewer rows than `training`: this is an upper bound.
    """
    (n, d), codes = training.codes.shape, training.codes
    rank = min(n, d) + 1
    rows = n * rank if codes.in_memory or n < d else 0
    given = n * d if n < d else 0  # from which coefficients are combined
    kernel = n**2 if n <= KERNEL_ROWS else 0
    itemsize = codes.dtype.itemsize
    return itemsize * (kernel + rows + given + cs * rank * training.classes) + 8 * rank**2


def decision_values(block: NDArray[Any], *, solution: Solution, clf: str) -> NDArray[Any]:
    """Return the value of each class for each image of a block, shape (n, k), as a head does."""
    values = solution.decision_function(block)
    return expand_margin(clf, values) if values.shape[1] == 1 else values


def _answers(
    block: NDArray[Any], *, solutions: Sequence[Solution], clf: str, multilabel: bool
) -> list[NDArray[Any]]:
    """Return each classifier's class of every image; its decision values for several labels."""
    values = (decision_values(block, solution=solution, clf=clf) for solution in solutions)
    return [answers_of(each, multilabel=multilabel) for each in values]
