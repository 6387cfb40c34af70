"""Selection: which C, and which preprocessing, by cross-validation on the training rows alone."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bottleneck.fitting.folds import Fold, make_folds
from bottleneck.fitting.metrics import METRICS, mean_average_precision
from bottleneck.fitting.options import SearchOptions
from bottleneck.linear.calibration import Calibration, fit_platt, fit_temperature
from bottleneck.linear.path import Solution
from bottleneck.linear.scaling import fit_scaler
from bottleneck.linear.training import SEARCH_TOL, ClassifierOptions, TrainingSet, train

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
    training: TrainingSet, options: ClassifierOptions, search: SearchOptions
) -> SearchResult:
    """Cross-validate every C of a grid with every scaling of the features.

    Parameters
    ----------
    training : TrainingSet
    options : ClassifierOptions
    search : SearchOptions
        Without values of C, `C_GRID` is tried, and then finer steps around the best value. The
        number of folds is at most ``cv``: a class with fewer images makes it fewer. Scalings are
        fitted on each fold's training part alone.

    Raises
    ------
    LabelsError
        A class, or a class's groups, are too few for two folds.
    InvalidOptionError
        There are no folds.
    """
    splits = make_folds(training, search.cv)
    candidates = [
        candidate
        for scaling in search.scalings
        for candidate in _cross_validated(
            training, options, splits, search.c or C_GRID, scaling=scaling, metric=search.metric
        )
    ]
    best = _best(candidates, search.rule)
    if search.c is None:
        fine = [best.c * factor for factor in _FINE]
        candidates += _cross_validated(
            training, options, splits, fine, scaling=best.preprocess, metric=search.metric
        )
        best = _best(candidates, search.rule)
    order = {name: index for index, name in enumerate(search.scalings)}
    candidates.sort(key=lambda candidate: (order[candidate.preprocess], candidate.c))
    metric = "mean_average_precision" if training.multilabel else search.metric
    return SearchResult(best, candidates, len(splits), metric)


def cross_val_calibrate(
    training: TrainingSet, options: ClassifierOptions, *, c: float, scaling: str, folds: int
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
        scaler, solution = train(training.take(here), options, c=c, scaling=scaling)
        unseen = training.codes.take(held_back).scaled(scaler)
        found = np.concatenate(list(unseen.map_blocks(solution.decision_function)))
        margins[held_back] = np.hstack([-found, found]) if found.shape[1] == 1 else found
    learn = fit_platt if training.multilabel else fit_temperature
    return learn(margins, training.targets), margins


def _cross_validated(
    training: TrainingSet,
    options: ClassifierOptions,
    splits: Sequence[Fold],
    grid: Sequence[float],
    *,
    scaling: str,
    metric: str,
) -> list[Candidate]:
    cs = sorted(grid)
    scores: list[list[float]] = [[] for _ in cs]
    gaps: list[list[float]] = [[] for _ in cs]
    converged = [True for _ in cs]
    for here, held_back in splits:
        learnt = training.take(here)
        scaler = fit_scaler(scaling, learnt.codes)
        path = list(options.path(learnt.scaled(scaler), cs, tol=SEARCH_TOL))
        judged = _judged(path, training.take(held_back).scaled(scaler), metric)
        for place, (solution, score) in enumerate(zip(path, judged, strict=True)):
            scores[place].append(score)
            gaps[place].append(float(solution.gap.max()))
            converged[place] &= bool(solution.converged.all())
    return [
        Candidate(scaling, c, tuple(score), max(gap), met)
        for c, score, gap, met in zip(cs, scores, gaps, converged, strict=True)
    ]


def _judged(path: Sequence[Solution], unseen: TrainingSet, metric: str) -> list[float]:
    """The metric of each classifier on rows that it has not seen, read once for all of them."""
    answers = partial(_answers, path=path, multilabel=unseen.multilabel)
    found = map(np.concatenate, zip(*unseen.codes.map_blocks(answers), strict=True))
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
