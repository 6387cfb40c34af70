"""Selection: which C, by cross-validation on the training rows alone."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import Normalizer, StandardScaler

from bottleneck.errors import InvalidOptionError, LabelsError
from bottleneck.head import PREPROCESSING
from bottleneck.linear import make_classifier

# The best C differs by five decades between data sets; half a decade is finer than the noise.
C_GRID: tuple[float, ...] = tuple(float(c) for c in np.logspace(-6, 5, 23))

_SEED = 0  # the folds are the same whenever the rows are


@dataclass(frozen=True)
class Candidate:
    """One C and what its folds said.

    Attributes
    ----------
    c : float
    accuracy : tuple of float
        On each fold's held-back part.
    converged : bool
        Whether the solver met its tolerance in every fold.
    """

    c: float
    accuracy: tuple[float, ...]
    converged: bool

    @property
    def mean(self) -> float:
        """Mean over the folds."""
        return float(np.mean(self.accuracy))

    @property
    def std(self) -> float:
        """Standard deviation over the folds."""
        return float(np.std(self.accuracy))


@dataclass(frozen=True)
class Selection:
    """The outcome of a search over C.

    Attributes
    ----------
    best : Candidate
        The highest mean; of equals the smallest C, which regularises most.
    candidates : list of Candidate
        In the order of C.
    folds : int
        How many there were.
    """

    best: Candidate
    candidates: list[Candidate]
    folds: int

    @property
    def at_edge(self) -> bool:
        """Whether the best C is the first or last of several, so that a better may lie beyond."""
        edges = (self.candidates[0].c, self.candidates[-1].c)
        return len(self.candidates) > 1 and self.best.c in edges

    def to_json(self) -> dict[str, Any]:
        """The chosen C's cross-validation, as ``fit --json`` prints it."""
        return {"mean": self.best.mean, "std": self.best.std, "folds": self.folds}


def choose_c(
    codes: NDArray[np.float32],
    classes: NDArray[np.int64],
    *,
    clf: str,
    grid: Sequence[float],
    folds: int,
    preprocess: str,
    class_weight: str | None = None,
    groups: Sequence[str] | None = None,
) -> Selection:
    """Cross-validate every C of a grid.

    Parameters
    ----------
    codes : ndarray of float32, shape (n, d)
        Training rows.
    classes : ndarray of int64, shape (n,)
        Their classes.
    clf, class_weight
        As in `bottleneck.linear.make_classifier`.
    grid : sequence of float
        Values of C, each above 0.
    folds : int
        At most; a class with fewer images makes it fewer.
    preprocess : str
        One of `bottleneck.head.PREPROCESSING`; fitted on each fold's training part alone.
    groups : sequence of n str, optional
        Rows of one group never stand on both sides of a fold; an empty name is a group of its own.

    Returns
    -------
    Selection

    Raises
    ------
    LabelsError
        A class, or a class's groups, are too few for two folds.
    """
    splits = _splits(classes, folds, groups)
    accuracy: dict[float, list[float]] = {c: [] for c in sorted(grid)}
    converged = dict.fromkeys(accuracy, True)
    for train, test in splits:
        prepare = make_preprocessing(preprocess)
        train_codes = prepare.fit_transform(codes[train])
        test_codes = prepare.transform(codes[test])
        for c, scores in accuracy.items():
            model = make_classifier(clf, c=c, class_weight=class_weight)
            model.fit(train_codes, classes[train])
            scores.append(float((model.predict(test_codes) == classes[test]).mean()))
            converged[c] &= model.converged_
    candidates = [Candidate(c, tuple(scores), converged[c]) for c, scores in accuracy.items()]
    best = max(candidates, key=lambda candidate: (candidate.mean, -candidate.c))
    return Selection(best, candidates, len(splits))


def fit_model(
    codes: NDArray[np.float32],
    classes: NDArray[np.int64],
    *,
    clf: str,
    c: float,
    preprocess: str,
    class_weight: str | None = None,
) -> Pipeline:
    """Fit preprocessing and classifier to all training rows."""
    model = make_classifier(clf, c=c, class_weight=class_weight)
    pipeline = Pipeline([("prepare", make_preprocessing(preprocess)), ("classify", model)])
    return pipeline.fit(codes, classes)


def make_preprocessing(preprocess: str) -> Any:
    """An unfitted scikit-learn transformer.

    Raises
    ------
    InvalidOptionError
        There is no preprocessing of that name.
    """
    if preprocess == "standardize":
        return StandardScaler()
    if preprocess == "l2":
        return Normalizer()
    if preprocess == "none":
        return StandardScaler(with_mean=False, with_std=False)
    raise InvalidOptionError(
        f"--preprocess {preprocess!r}: must be one of {', '.join(PREPROCESSING)}"
    )


def check_grid(values: Sequence[float]) -> tuple[float, ...]:
    """Values of C in ascending order, each once.

    Raises
    ------
    InvalidOptionError
        One of them is not a finite number above 0.
    """
    for c in values:
        if not (np.isfinite(c) and c > 0):
            raise InvalidOptionError(f"--c {c:g}: C must be a finite number above 0, or `auto`")
    return tuple(sorted(set(values)))


_Split = tuple[NDArray[np.int64], NDArray[np.int64]]


def _splits(classes: NDArray[np.int64], folds: int, groups: Sequence[str] | None) -> list[_Split]:
    if folds < 2:
        raise InvalidOptionError(f"--cv {folds}: cross-validation needs at least 2 folds")
    rows = np.zeros(len(classes))
    if groups is None or not any(groups):
        folds = min(folds, _fewest(classes, np.arange(len(classes)), "image"))
        plain = StratifiedKFold(folds, shuffle=True, random_state=_SEED)
        return list(plain.split(rows, classes))
    group = np.array([name or f"\0{row}" for row, name in enumerate(groups)])
    folds = min(folds, _fewest(classes, group, "group"))
    grouped = StratifiedGroupKFold(folds, shuffle=True, random_state=_SEED)
    return list(grouped.split(rows, classes, group))


def _fewest(classes: NDArray[np.int64], unit: NDArray[Any], name: str) -> int:
    """The smallest number of images or groups that a class has; at least 2."""
    counts = [len(np.unique(unit[classes == k])) for k in np.unique(classes)]
    if min(counts) < 2:
        raise LabelsError(
            f"{sum(count < 2 for count in counts)} of {len(counts)} classes have a single "
            f"training {name}: cross-validation needs 2 in each; add images, or give one value "
            "with --c and leave the cross-validation out with --cv 0"
        )
    return min(counts)
