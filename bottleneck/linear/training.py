"""Training sets, options of a classifier, and training of a scaler and a classifier for one C."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from bottleneck.errors import InvalidOptionError, LabelsError
from bottleneck.linear.classifiers import array_mover, prepare_path, require_classifier
from bottleneck.linear.matrix import CodeMatrix, RowFunction, consecutive_rows
from bottleneck.linear.scaling import FeatureScaler, fit_scaler
from bottleneck.linear.solver.path import Solution

SEARCH_TOL = 1e-3  # minimisers within this gap hardly differ in their predictions
_FINAL_TOL = 1e-5  # coefficients agree, however the rows are divided into blocks


@dataclass(frozen=True)
class TrainingSet:
    """Codes with their targets.

    Attributes
    ----------
    codes : CodeMatrix
        Codes of n images: the views of an image are consecutive rows of one block.
    targets : ndarray of int64, shape (n,), or of bool, shape (n, k)
        Class of each image, or with several labels an image which of the k labels each one has.
    classes : int
        Number of classes or labels, k.
    groups : ndarray of int64, shape (n,), or None
        Images with the same group are kept on one side of every fold.
    views : int
        Rows of an image; together they weigh as much as the one row of an image without views.
    sizes : tuple of int
        Number of features of each layer, whose codes are side by side; one layer if it is empty.

    Examples
    --------
    >>> from bottleneck.linear.matrix import ArrayMatrix
    >>> codes = ArrayMatrix(np.array([[0.0, 1.0], [2.0, 1.0], [4.0, 5.0]]))
    >>> training = TrainingSet(codes, np.array([0, 1, 1]), classes=2, groups=np.array([0, 7, 7]))
    >>> some = training.take(np.array([0, 2]))
    >>> some.targets.tolist(), some.groups.tolist()
    ([0, 1], [0, 7])
    """

    codes: CodeMatrix
    targets: NDArray[Any]
    classes: int
    groups: NDArray[np.int64] | None = None
    views: int = 1
    sizes: tuple[int, ...] = ()

    @property
    def multilabel(self) -> bool:
        """Whether an image may have several labels."""
        return self.targets.ndim == 2

    def take(self, images: NDArray[np.int64]) -> "TrainingSet":
        """Return some images with their targets and groups, given by ascending index."""
        groups = None if self.groups is None else self.groups[images]
        codes = self.codes.take(consecutive_rows(images, self.views))
        return replace(self, codes=codes, targets=self.targets[images], groups=groups)

    def fit_scaler(self, scaling: str) -> FeatureScaler:
        """Learn a scaling, each layer's by itself, from all rows."""
        return fit_scaler(scaling, self.codes, self.sizes or None)

    def scaled(self, scaler: RowFunction) -> "TrainingSet":
        """Return the same images with scaled codes."""
        return replace(self, codes=self.codes.scaled(scaler))

    def averaged(self) -> "TrainingSet":
        """Return the same images with one row each, the mean of its views.

        A linear classifier's value for that row is the mean of its values for the views.
        """
        return replace(self, codes=self.codes.averaged(self.views), views=1)


class PathSolver(Protocol):
    """Rows that are prepared for training, such as a `RegularizationPath`."""

    def solve(self, cs: Sequence[float], *, tol: float) -> Iterator[Solution]:
        """Train a classifier for each C, ascending, until its gap is within a tolerance."""


@dataclass(frozen=True)
class ClassifierOptions:
    """Options of a linear classifier, except for C and the scaling of the features.

    Parameters
    ----------
    clf : str
        ``"svm"`` or ``"softmax"``.
    class_weight : None or "balanced"
        ``"balanced"`` gives every class the same total weight.
    device : str or torch.device, optional
        ``"cpu"``, ``"cuda"`` or ``"cuda:N"`` computes with torch on that device, ``"auto"`` on a
        GPU if there is one. NumPy unless given.

    Raises
    ------
    UnknownNameError
        There is no such classifier.
    InvalidOptionError
        The classifier is no name, the class weight is not allowed, or there is no such device.

    Examples
    --------
    >>> ClassifierOptions("svm", class_weight="balanced")
    ClassifierOptions(clf='svm', class_weight='balanced', device=None)
    >>> ClassifierOptions("smv")
    Traceback (most recent call last):
    bottleneck.errors.UnknownNameError: unknown classifier 'smv': did you mean svm?
    """

    clf: str
    class_weight: Literal["balanced"] | None = None
    device: str | None = None

    def __post_init__(self) -> None:
        require_classifier(self.clf)
        balanced = isinstance(self.class_weight, str) and self.class_weight == "balanced"
        if not balanced and self.class_weight is not None:  # an array of weights has no one truth
            raise InvalidOptionError("class_weight", self.class_weight, "'balanced' or None")
        array_mover(self.device)
        if self.device is not None:
            object.__setattr__(self, "device", str(self.device))  # the name of a torch.device

    def prepare(self, training: TrainingSet, *, max_c: float) -> PathSolver:
        """Decompose rows once, to train a classifier for any sequence of C.

        Parameters
        ----------
        training : TrainingSet
            Rows whose codes are already scaled.
        max_c : float
            Largest C that will be solved; if it is small, the rows need no decomposition.

        Returns
        -------
        PathSolver
            It remembers its solutions, and starts from the nearest ones. A label that all rows have
            or none has gets zero coefficients and an intercept that says so.

        Raises
        ------
        LabelsError
            With several labels an image, all rows have the same ones.

        Examples
        --------
        >>> from bottleneck.linear.matrix import ArrayMatrix
        >>> codes = ArrayMatrix(np.array([[-2.0], [-1.0], [1.0], [2.0]]))
        >>> training = TrainingSet(codes, np.array([0, 0, 1, 1]), classes=2)
        >>> path = ClassifierOptions("svm").prepare(training, max_c=1.0)
        >>> [solution.coef.round(3).tolist() for solution in path.solve([1.0], tol=1e-9)]
        [[[0.8]]]
        """
        if not training.multilabel:
            return self._prepare(training, max_c)
        mixed = np.asarray(training.targets.any(axis=0) & ~training.targets.all(axis=0))
        if not mixed.any():
            raise LabelsError(
                f"all {len(training.targets)} images have the same labels: nothing can be learned "
                "from them; use more images, or fewer folds with `cv`"
            )
        learnable = replace(training, targets=training.targets[:, mixed], classes=int(mixed.sum()))
        return _WithConstantLabels(self._prepare(learnable, max_c), training.targets, mixed)

    def _prepare(self, training: TrainingSet, max_c: float) -> PathSolver:
        views = training.views
        solver = prepare_path(
            training.codes,
            np.repeat(training.targets, views, axis=0),
            clf=self.clf,
            classes=training.classes,
            max_c=max_c / views,
            class_weight=self.class_weight,
            device=self.device,
        )
        return solver if views == 1 else _SharedWeight(solver, views)


def train(
    training: TrainingSet, options: ClassifierOptions, *, c: float, scaling: str
) -> tuple[FeatureScaler, Solution]:
    """Fit a scaler and a classifier for one C to all rows.

    Parameters
    ----------
    training : TrainingSet
    options : ClassifierOptions
    c : float
        Weight of the loss against the penalty, above 0.
    scaling : str
        One of `bottleneck.linear.scaling.SCALINGS`.

    Returns
    -------
    scaler : FeatureScaler
        Fitted to these rows.
    solution : Solution
        Coefficients for the scaled codes.

    Raises
    ------
    InvalidOptionError
        There is no such scaling.
    LabelsError
        With several labels an image, all rows have the same ones.

    Examples
    --------
    >>> from bottleneck.linear.matrix import ArrayMatrix
    >>> codes = np.array([[0.0, 1.0], [1.0, 0.0], [4.0, 5.0], [5.0, 4.0]])
    >>> training = TrainingSet(ArrayMatrix(codes), np.array([0, 0, 1, 1]), classes=2)
    >>> scaler, solution = train(
    ...     training, ClassifierOptions("svm"), c=1.0, scaling="standardize"
    ... )
    >>> (solution.decision_function(scaler(codes))[:, 0] > 0).tolist()
    [False, False, True, True]
    """
    scaler = training.fit_scaler(scaling)
    path = options.prepare(training.scaled(scaler), max_c=c)
    (solution,) = path.solve([c], tol=_FINAL_TOL)
    return scaler, solution


@dataclass(frozen=True)
class _SharedWeight:
    """A solver of images whose views weigh as much together as one row: C/v for each of v rows."""

    path: PathSolver
    views: int

    def solve(self, cs: Sequence[float], *, tol: float) -> Iterator[Solution]:
        solutions = self.path.solve([c / self.views for c in cs], tol=tol)
        return (replace(found, c=c) for c, found in zip(cs, solutions, strict=True))


@dataclass(frozen=True)
class _WithConstantLabels:
    """A solver with the labels added that all rows have or none has.

    Their objective has no minimiser. Their intercept is the log odds of Laplace's rule of
    succession.
    """

    path: PathSolver
    targets: NDArray[np.bool_]
    mixed: NDArray[np.bool_]

    def solve(self, cs: Sequence[float], *, tol: float) -> Iterator[Solution]:
        return map(self._complete, self.path.solve(cs, tol=tol))

    def _complete(self, solution: Solution) -> Solution:
        (n, k), d = self.targets.shape, solution.coef.shape[1]
        log_odds = np.log(n + 1)
        coef, intercept = np.zeros((k, d)), np.where(self.targets[0], log_odds, -log_odds)
        coef[self.mixed], intercept[self.mixed] = solution.coef, solution.intercept
        return replace(solution, coef=coef, intercept=intercept)
