"""Selection: which C, and which preprocessing, by cross-validation on the training rows alone."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bottleneck.errors import InvalidOptionError
from bottleneck.fitting.folds import Fold, make_folds
from bottleneck.fitting.metrics import METRICS, mean_average_precision
from bottleneck.linear.calibration import Calibration, fit_platt, fit_temperature
from bottleneck.linear.matrix import fit_scaler
from bottleneck.linear.path import Solution
from bottleneck.linear.training import SEARCH_TOL, Method, Training, train

# The best C differs by five decades between data sets (S. Kornblith, J. Shlens and Q. Le, "Do
# better ImageNet models transfer better?", 2019); then eighths of a decade around the best.
C_GRID: tuple[float, ...] = tuple(float(c) for c in np.logspace(-6, 5, 23))
_DIGITS = 12  # of a mean; beyond them is rounding, which breaks no tie
_FINE = tuple(10 ** (step / 8) for step in (-3, -2, -1, 1, 2, 3))


@dataclass(frozen=True)
class Candidate:
    """One preprocessing and C, and what the folds said of it.

    Attributes
    ----------
    preprocess : str
    c : float
    scores : tuple of float
        The metric on each fold's held-back part.
    gap : float
        The largest of any fold: objectives are within this share of their minimum. NaN where
        the solver proves nothing.
    converged : bool
        Whether the solver met its tolerance in every fold.
    """

    preprocess: str
    c: float
    scores: tuple[float, ...]
    gap: float
    converged: bool

    @property
    def mean(self) -> float:
        """Mean over the folds."""
        return float(np.mean(self.scores))

    @property
    def std(self) -> float:
        """Standard deviation over the folds."""
        return float(np.std(self.scores))

    @property
    def standard_error(self) -> float:
        """Of the mean."""
        return float(np.std(self.scores, ddof=1) / np.sqrt(len(self.scores)))

    def to_dict(self) -> dict[str, Any]:
        """Every number, as ``--save-cv`` writes it."""
        return {
            "preprocess": self.preprocess,
            "c": self.c,
            "mean": self.mean,
            "std": self.std,
            "scores": list(self.scores),
            "gap": self.gap if np.isfinite(self.gap) else None,
            "converged": self.converged,
        }


@dataclass(frozen=True)
class SearchResult:
    """The outcome of a search.

    Attributes
    ----------
    best : Candidate
        The chosen one.
    candidates : list of Candidate
        By preprocessing, then C.
    folds : int
        How many there were.
    metric : str
        What scores are.
    """

    best: Candidate
    candidates: list[Candidate]
    folds: int
    metric: str

    @property
    def at_edge(self) -> bool:
        """Whether the best C is the first or last of several, so that a better may lie beyond."""
        tried = [found.c for found in self.candidates if found.preprocess == self.best.preprocess]
        return len(tried) > 1 and self.best.c in (min(tried), max(tried))

    def to_dict(self) -> dict[str, Any]:
        """The choice's cross-validation, as ``fit --json`` prints it."""
        return {
            "mean": self.best.mean,
            "std": self.best.std,
            "folds": self.folds,
            "metric": self.metric,
        }

    def table(self) -> dict[str, Any]:
        """Every number of the search, as ``--save-cv`` writes it."""
        return {
            "metric": self.metric,
            "folds": self.folds,
            "best": self.best.to_dict(),
            "candidates": [found.to_dict() for found in self.candidates],
        }


def select_c(
    training: Training,
    method: Method,
    *,
    grid: Sequence[float] | None,
    folds: int,
    preprocess: Sequence[str],
) -> SearchResult:
    """Cross-validate every C of a grid with every preprocessing.

    Parameters
    ----------
    training : Training
    method : Method
    grid : sequence of float or None
        Values of C, each above 0; None walks `C_GRID` and then more finely around the best.
    folds : int
        At most; a class with fewer images makes it fewer.
    preprocess : sequence of str
        Of `bottleneck.linear.matrix.SCALINGS`; fitted on each fold's training part alone.

    Raises
    ------
    LabelsError
        A class, or a class's groups, are too few for two folds.
    UnknownNameError, InvalidOptionError
        An option's value is not allowed.
    """
    method.require()
    splits = make_folds(training, folds)
    found = [
        candidate
        for name in preprocess
        for candidate in _cross_validated(training, method, splits, grid or C_GRID, name)
    ]
    best = _best(found, method.rule)
    if grid is None:
        fine = [best.c * factor for factor in _FINE]
        found += _cross_validated(training, method, splits, fine, best.preprocess)
        best = _best(found, method.rule)
    order = {name: place for place, name in enumerate(preprocess)}
    found.sort(key=lambda candidate: (order[candidate.preprocess], candidate.c))
    metric = "mean_average_precision" if training.multilabel else method.metric
    return SearchResult(best, found, len(splits), metric)


def cross_val_calibrate(
    training: Training, method: Method, *, c: float, preprocess: str, folds: int
) -> tuple[Calibration, NDArray[np.float64]]:
    """Learn probabilities from the margins of rows that were held back.

    Returns
    -------
    calibration : Calibration
        A temperature; for several labels an image, Platt's slope and offset of each.
    margins : ndarray of float64, shape (n, k)
        What it was learnt from: each row's, by a classifier that has not seen it.
    """
    margins = np.zeros((len(training.targets), training.classes))
    for here, held_back in make_folds(training, folds):
        preprocessing, solution = train(training.take(here), method, c=c, preprocess=preprocess)
        unseen = training.codes.take(held_back).prepared(preprocessing)
        found = np.concatenate(list(unseen.map(solution.decision_function)))
        margins[held_back] = np.hstack([-found, found]) if found.shape[1] == 1 else found
    learn = fit_platt if training.multilabel else fit_temperature
    return learn(margins, training.targets), margins


def check_grid(values: Sequence[float]) -> tuple[float, ...]:
    """Values of C in ascending order, each once.

    Raises
    ------
    InvalidOptionError
        One of them is not a finite number above 0.
    """
    for c in values:
        if not (np.isfinite(c) and c > 0):
            raise InvalidOptionError("c", f"{c:g}", "a finite number above 0, or auto")
    return tuple(sorted(set(values)))


def _cross_validated(
    training: Training,
    method: Method,
    splits: Sequence[Fold],
    grid: Sequence[float],
    preprocess: str,
) -> list[Candidate]:
    cs = sorted(grid)
    scores: list[list[float]] = [[] for _ in cs]
    gaps: list[list[float]] = [[] for _ in cs]
    converged = [True for _ in cs]
    for here, held_back in splits:
        learnt = training.take(here)
        preprocessing = fit_scaler(preprocess, learnt.codes)
        path = list(method.path(learnt.prepared(preprocessing), cs, tol=SEARCH_TOL))
        judged = _judged(path, training.take(held_back).prepared(preprocessing), method.metric)
        for place, (solution, score) in enumerate(zip(path, judged, strict=True)):
            scores[place].append(score)
            gaps[place].append(float(solution.gap.max()))
            converged[place] &= bool(solution.converged.all())
    return [
        Candidate(preprocess, c, tuple(score), max(gap), met)
        for c, score, gap, met in zip(cs, scores, gaps, converged, strict=True)
    ]


def _judged(path: Sequence[Solution], unseen: Training, metric: str) -> list[float]:
    """The metric of each classifier on rows that it has not seen, read once for all of them."""
    answers = partial(_answers, path=path, multilabel=unseen.multilabel)
    found = map(np.concatenate, zip(*unseen.codes.map(answers), strict=True))
    targets, k = unseen.targets, unseen.classes
    if unseen.multilabel:
        return [mean_average_precision(targets, margins) for margins in found]
    return [METRICS[metric](targets, classes, k) for classes in found]


def _answers(
    block: NDArray[Any], *, path: Sequence[Solution], multilabel: bool
) -> list[NDArray[Any]]:
    """What each classifier says of a block: margins of all labels, or the class of the highest."""
    margins = (solution.decision_function(block) for solution in path)
    return list(margins) if multilabel else [_classes(found) for found in margins]


def _classes(margins: NDArray[Any]) -> NDArray[np.int64]:
    """The class of the highest margin, from one margin for two classes."""
    if margins.shape[1] == 1:
        return (margins[:, 0] > 0).astype(np.int64)
    return np.asarray(margins.argmax(axis=1))


def _best(candidates: Sequence[Candidate], rule: str) -> Candidate:
    """The highest mean; of equals the smallest C, which regularises most."""
    best = max(candidates, key=lambda found: (round(found.mean, _DIGITS), -found.c))
    if rule == "best":
        return best
    # L. Breiman et al., "Classification and regression trees" (1984), section 3.4.3.
    enough = round(best.mean - best.standard_error, _DIGITS)
    rivals = [found for found in candidates if found.preprocess == best.preprocess]
    return min(
        (found for found in rivals if round(found.mean, _DIGITS) >= enough),
        key=lambda found: found.c,
    )
