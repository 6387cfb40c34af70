"""Result of the search over C and scalings: every candidate with its scores on the folds."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from bottleneck.fitting.scoring.metrics import format_metric
from bottleneck.runtime import PreformattedText, format_table

_DIGITS = 12  # of a mean; further digits are rounding errors, which must not break ties


@dataclass(frozen=True)
class Candidate:
    """One C with one scaling, and its cross-validation.

    Attributes
    ----------
    scaling : str
        Scaling of the features.
    c : float
        C of the classifier.
    scores : tuple of float
        Metric on the validation rows of each fold.
    gap : float
        Largest relative distance of an objective from its minimum in any fold; NaN where the
        solver has no bound for it.
    converged : bool
        Whether the solver met its tolerance in every fold.
    unchanged : bool
        Whether the classifiers of a smaller C are proved to be those of this C, and of larger ones.

    Examples
    --------
    >>> Candidate("l2", 0.1, (0.8, 0.9), 1e-4, True).mean
    0.8500000000000001
    """

    scaling: str
    c: float
    scores: tuple[float, ...]
    gap: float
    converged: bool
    unchanged: bool = False

    @property
    def mean(self) -> float:
        """Mean over the folds."""
        return float(np.mean(self.scores))

    @property
    def rounded_mean(self) -> float:
        """The mean to compare with: those of the same images in other folds are equal."""
        return round(self.mean, _DIGITS)

    @property
    def threshold(self) -> float:
        """The rounded mean from which on others are within one standard error."""
        return round(self.mean - self.standard_error, _DIGITS)

    @property
    def std(self) -> float:
        """Standard deviation over the folds."""
        return float(np.std(self.scores))

    @property
    def standard_error(self) -> float:
        """Standard error of the mean over the folds."""
        return float(np.std(self.scores, ddof=1) / np.sqrt(len(self.scores)))

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {
            "preprocess": self.scaling,
            "c": self.c,
            "mean": self.mean,
            "std": self.std,
            "scores": list(self.scores),
            "gap": self.gap if np.isfinite(self.gap) else None,
            "converged": self.converged,
        }


@dataclass(frozen=True)
class SearchResult(PreformattedText):
    """Result of a search over C and scalings. Printed, it is a table of all candidates.

    Attributes
    ----------
    best : Candidate
        The selected candidate.
    candidates : list of Candidate
        All candidates, ordered by scaling and C.
    folds : int
        Number of folds.
    metric : str
        Name of the metric in the candidates' scores.
    passed_peak : bool
        Whether larger C were left out: the scores had fallen, or no larger C can be better.
    asked : int
        Folds that were asked for.

    Examples
    --------
    >>> low = Candidate("l2", 0.1, (0.5, 0.7), gap=0, converged=True)
    >>> high = Candidate("l2", 1.0, (0.4, 0.4), gap=0, converged=True)
    >>> print(SearchResult(low, [low, high], 2, "accuracy"))
    C    accuracy  ± std
    0.1     60.0%  10.0%  *
    1       40.0%   0.0%
    """

    best: Candidate
    candidates: list[Candidate]
    folds: int
    metric: str
    passed_peak: bool = False
    asked: int = 0

    @property
    def at_edge(self) -> bool:
        """Whether a C beyond those that were tried may be better: the scores rise up to it."""
        same = [one for one in self.candidates if one.scaling == self.best.scaling]
        same.sort(key=lambda one: one.c)
        inwards = ((same[0], same[1:2]), (same[-1], same[-2:-1]))
        return any(
            end.c == self.best.c and end.rounded_mean > neighbour.rounded_mean
            for end, neighbours in inwards
            for neighbour in neighbours
        )

    def summary(self) -> dict[str, Any]:
        """Return the cross-validation of the best candidate, as ``fit`` prints it as JSON."""
        return {
            "mean": self.best.mean,
            "std": self.best.std,
            "folds": self.folds,
            "metric": self.metric,
        }

    def to_dict(self) -> dict[str, Any]:
        """Return every number of the search, for JSON."""
        return {
            "metric": self.metric,
            "folds": self.folds,
            "passed_peak": self.passed_peak,
            "best": self.best.to_dict(),
            "candidates": [candidate.to_dict() for candidate in self.candidates],
        }

    def __str__(self) -> str:
        """Format every candidate with the mean and deviation of its folds; ``*`` marks the best."""
        several = len({candidate.scaling for candidate in self.candidates}) > 1
        rows = []
        for candidate in self.candidates:
            scaling = [candidate.scaling] if several else []
            mark = "*" if candidate is self.best else ""
            mark += "" if candidate.converged else " not converged"
            scores = [f"{candidate.mean:.1%}", f"{candidate.std:.1%}", mark]
            rows.append([*scaling, f"{candidate.c:.3g}", *scores])
        header = ["preprocess"] if several else []
        table = format_table([*header, "C", format_metric(self.metric), "± std", ""], rows)
        return f"{table}\n{self._left_out()}" if self.passed_peak else table

    def _left_out(self) -> str:
        tried = [one for one in self.candidates if one.scaling == self.best.scaling]
        largest = max(tried, key=lambda one: one.c)
        why = "the scores had passed their peak"
        if not largest.converged:
            why = "the solver does not converge there"
        elif largest.unchanged:
            why = "no larger C changes the classifiers"
        if self.best.rounded_mean == 1:
            why = "no score is higher"
        return f"C above {largest.c:.3g} was left out: {why}"
