"""Select C and the feature scaling by cross-validation on the training rows."""

import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from bottleneck.fitting.scoring.metrics import guessing_score
from bottleneck.fitting.selection.fold_search import FoldSearch, fold_bytes
from bottleneck.fitting.selection.folds import make_folds
from bottleneck.fitting.selection.options import SearchOptions
from bottleneck.fitting.selection.search_result import Candidate, SearchResult
from bottleneck.linear import (
    SEARCH_TOL,
    Calibration,
    ClassifierOptions,
    Solution,
    TrainingSet,
    fit_platt,
    fit_temperature,
)

# The best C differs by five decades between data sets (S. Kornblith, J. Shlens and Q. Le, "Do
# better ImageNet models transfer better?", 2019). Then halves and quarters of a decade around the
# best: a finer grid chooses among the noise of the folds.
C_GRID: tuple[float, ...] = tuple(float(c) for c in np.logspace(-6, 5, 12))
_REFINEMENTS = tuple(tuple(10 ** (n / 4) for n in quarters) for quarters in ((-2, 2), (-1, 1)))
_CHEAP = 5  # of the smallest C, which take few passes, are solved in one sequence
_PATIENCE = 2  # larger C in a row that are worse
_CALIBRATION_TOL = 1e-4  # slopes are within half a percent of the minimisers'


class CrossValidation:
    """The folds of training rows, each scaled and decomposed once for every C that is tried.

    Folds are kept from one use to the next as far as their matrix has memory to spare
    (`CodeMatrix.spare`). Others are made again.

    Parameters
    ----------
    training : TrainingSet
        Training rows.
    options : ClassifierOptions
        Classifier.
    search : SearchOptions
        Values of C, scalings, folds, metric and rule; `cv` is at least 2.
    on_fit : callable
        Called after each classifier that was trained.

    Raises
    ------
    InvalidOptionError
        `cv` is below 2.
    LabelsError
        A class has too few images or groups for two folds.

    Examples
    --------
    >>> from bottleneck.linear.matrix import ArrayMatrix
    >>> codes = np.random.default_rng(0).normal(size=(40, 2)) + 4 * np.eye(2)[np.arange(40) % 2]
    >>> training = TrainingSet(ArrayMatrix(codes), np.arange(40) % 2, 2)
    >>> search = SearchOptions(c=[0.1, 1.0], cv=4)
    >>> validation = CrossValidation(training, ClassifierOptions("svm"), search)
    >>> result = validation.select()
    >>> len(result.candidates), result.folds, result.best.mean > 0.9
    (2, 4, True)
    >>> calibration, decision_values = validation.calibrate(result.best.c, result.best.scaling)
    >>> decision_values.shape
    (40, 2)
    """

    def __init__(
        self,
        training: TrainingSet,
        options: ClassifierOptions,
        search: SearchOptions,
        on_fit: Callable[[], None] = lambda: None,
    ) -> None:
        self._training, self._options, self._search = training, options, search
        self._on_fit = on_fit
        self._splits = make_folds(training, search.cv)
        self._kept: dict[tuple[str, int], FoldSearch] = {}
        self._most = training.codes.spare // fold_bytes(training, len(C_GRID))

    def select(self) -> SearchResult:
        """Cross-validate values of C and scalings, and select the best candidate.

        Scalings and classifiers are fitted to the training rows of each fold alone.
        """
        search, candidates = self._search, []
        for scaling in search.scalings:
            candidates += self._coarse(scaling)
            best = _best(candidates, search.rule)  # its folds are used again; the next need room
            self._kept = {at: fold for at, fold in self._kept.items() if at[0] == best.scaling}
        for factors in () if search.grid else _REFINEMENTS:
            candidates += self._candidates(best.scaling, [best.c * each for each in factors])
            best = _best(candidates, search.rule)
        order = search.scalings.index
        candidates.sort(key=lambda candidate: (order(candidate.scaling), candidate.c))
        metric = "mean_average_precision" if self._training.multilabel else search.metric
        passed = search.grid is None and not any(
            one.c == C_GRID[-1] for one in candidates if one.scaling == best.scaling
        )
        return SearchResult(best, candidates, len(self._splits), metric, passed, search.cv)

    def calibrate(self, c: float, scaling: str) -> tuple[Calibration, NDArray[np.float64]]:
        """Fit a calibration to the decision values of validation rows.

        Parameters
        ----------
        c : float
            C of the classifier. Where it was a candidate, training goes on from its solutions, to a
            gap of 1e-4.
        scaling : str
            Scaling of the features.

        Returns
        -------
        calibration : Calibration
            A temperature; for several labels an image, the slope and offset of each label (Platt),
            of its values without an intercept.
        decision_values : ndarray of float64, shape (n, k)
            The values that it was fitted to: those of each row, by a classifier that was trained
            without it. The intercept of a label follows its share of the training rows, and so
            tells folds apart, and not images, where C is small.
        """
        training = self._training
        values = np.zeros((len(training.targets), training.classes))
        for fold, (_, validation) in zip(self._folds(scaling), self._splits, strict=True):
            (solution,) = self._solve(fold, [c], tol=_CALIBRATION_TOL)
            values[validation] = fold.decision_values(solution)
            if training.multilabel:
                values[validation] -= solution.intercept
        fit = fit_platt if training.multilabel else fit_temperature
        return fit(values, training.targets), values

    def _coarse(self, scaling: str) -> list[Candidate]:
        """Return the candidates of the user's grid, or of the default one until a peak is passed.

        Large C take most passes. Where they do not suffice, a larger C has no solution either.
        Where folds are not kept, each C alone would decompose them again: all are solved, and those
        past the peak left out, so that the choice does not depend on the memory.
        """
        if self._search.grid:
            return self._candidates(scaling, self._search.grid)
        kept = self._most - len(self._kept) >= len(self._splits)
        candidates = self._candidates(scaling, C_GRID[:_CHEAP] if kept else C_GRID)
        guess = guessing_score(self._training.targets, self._training.classes, self._search.metric)
        for n in range(_CHEAP, len(C_GRID)):
            if _is_past_peak(candidates[:n], guess):
                return candidates[:n]
            if n == len(candidates):
                candidates += self._candidates(scaling, [C_GRID[n]])
        return candidates

    def _candidates(self, scaling: str, cs: Sequence[float]) -> list[Candidate]:
        """Return the candidates of ascending C."""
        paths, scores = [], []
        for fold in self._folds(scaling):
            paths.append(self._solve(fold, cs, tol=SEARCH_TOL))
            scores.append(fold.scores(paths[-1], self._search.metric))
        return [
            Candidate(
                scaling,
                c,
                tuple(of_folds),
                gap=max(float(solution.gap.max()) for solution in solutions),
                converged=all(bool(solution.converged.all()) for solution in solutions),
                unchanged=not any(solution.passes for solution in solutions),
            )
            for c, of_folds, solutions in zip(
                cs, zip(*scores, strict=True), zip(*paths, strict=True), strict=True
            )
        ]

    def _solve(self, fold: FoldSearch, cs: Sequence[float], *, tol: float) -> list[Solution]:
        solutions = []
        for solution in fold.solve(cs, tol=tol):
            solutions.append(solution)
            self._on_fit()
        return solutions

    def _folds(self, scaling: str) -> Iterator[FoldSearch]:
        """Yield every fold under a scaling, kept or made."""
        max_c = max(self._search.grid or (math.inf,))
        for i, split in enumerate(self._splits):
            fold = self._kept.get((scaling, i)) or FoldSearch(
                self._training, split, self._options, scaling=scaling, max_c=max_c
            )
            if len(self._kept) < self._most:
                self._kept[scaling, i] = fold
            yield fold


def most_fits(search: SearchOptions) -> int:
    """Return how many classifiers may be trained to select, calibrate and train one.

    Examples
    --------
    >>> most_fits(SearchOptions(c=[0.1, 1.0], cv=5))  # 2 and a calibration in each fold; the last
    16
    """
    cs = len(search.scalings) * len(search.grid or C_GRID)
    cs += 0 if search.grid else sum(map(len, _REFINEMENTS))
    once = search.cv * (cs + 1) + 1
    return once * (search.cv + 1) if search.nested else once


def _is_past_peak(candidates: Sequence[Candidate], guess: float) -> bool:
    """Return whether no larger C is likely to score higher.

    The mean is above that of a guess by more than a standard error, and has fallen since: by more
    than a standard error, or at two values in a row. A guess is no peak, because a tiny C predicts
    the most frequent class. Or nothing can be better, or the solver no longer converges, or no
    classifier changes any more.
    """
    best, last = _best(candidates, "best"), candidates[-1]
    if best.rounded_mean == 1 or not last.converged or last.unchanged:
        return True
    if best.mean - guess <= best.standard_error:
        return False
    falls = [best.rounded_mean - one.rounded_mean for one in candidates[-_PATIENCE:]]
    return falls[-1] > best.standard_error or min(falls) > 0


def _best(candidates: Sequence[Candidate], rule: str) -> Candidate:
    """Return the candidate of the highest mean; of equal means the one of the smallest C."""
    best = max(candidates, key=lambda candidate: (candidate.rounded_mean, -candidate.c))
    if rule == "best":
        return best
    # L. Breiman et al., "Classification and regression trees" (1984), section 3.4.3.
    same_scaling = [one for one in candidates if one.scaling == best.scaling]
    near = (one for one in same_scaling if one.rounded_mean >= best.threshold)
    return min(near, key=lambda one: one.c)
