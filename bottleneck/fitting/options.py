"""Options of the search for C and for the scaling of features by cross-validation."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bottleneck.errors import InvalidOptionError, UnknownNameError
from bottleneck.fitting.metrics import METRICS
from bottleneck.linear.scaling import SCALINGS, require_scaling

RULES = ("best", "1se")


@dataclass(frozen=True)
class SearchOptions:
    """Which values of C and which scalings are tried, and how one of them is chosen.

    Parameters
    ----------
    c : sequence of float, optional
        Values of C to choose from, each above 0; a coarse and then a fine grid unless given.
        Stored as a tuple in ascending order, each value once.
    cv : int
        Number of folds, at least 2; 0 leaves the cross-validation out, and needs one value of C.
    scaling : str
        ``"standardize"``, ``"l2"``, ``"none"``, or ``"auto"`` to choose among these three.
    metric : str
        ``"accuracy"``, ``"balanced"`` or ``"macro_f1"``; with several labels an image the metric
        is always mean average precision.
    rule : str
        ``"best"``, or ``"1se"`` for the smallest C within one standard error of the best.

    Raises
    ------
    InvalidOptionError, UnknownNameError
        A value is not allowed.

    Examples
    --------
    >>> SearchOptions(c=[1.0, 0.1, 1.0]).c
    (0.1, 1.0)
    >>> SearchOptions(cv=0)
    Traceback (most recent call last):
    bottleneck.errors.InvalidOptionError: `cv=0`: must be at least 2 folds to choose among a \
whole grid of C: or give one value of `c`
    """

    c: Sequence[float] | None = None
    cv: int = 5
    scaling: str = "standardize"
    metric: str = "accuracy"
    rule: str = "best"

    def __post_init__(self) -> None:
        for name, value, known in [("metric", self.metric, METRICS), ("rule", self.rule, RULES)]:
            if value not in known:
                raise UnknownNameError(name, value, known)
        if self.scaling != "auto":
            require_scaling(self.scaling)
        if self.c is not None:
            object.__setattr__(self, "c", check_grid(self.c))
        if self.cv:
            if self.cv < 2:
                raise InvalidOptionError("cv", self.cv, "at least 2 folds, or 0 for none")
            return
        if self.c is None or len(self.c) > 1:
            count = "a whole grid" if self.c is None else f"{len(self.c)} values"
            raise InvalidOptionError(
                "cv",
                0,
                f"at least 2 folds to choose among {count} of C",
                "or give one value of `c`",
            )
        if self.scaling == "auto":
            raise InvalidOptionError(
                "cv",
                0,
                "at least 2 folds to choose a scaling",
                "or give `scaling='standardize'`, 'l2' or 'none'",
            )

    @property
    def scalings(self) -> tuple[str, ...]:
        """Names of the scalings to try."""
        return SCALINGS if self.scaling == "auto" else (self.scaling,)


def check_grid(values: Sequence[float]) -> tuple[float, ...]:
    """Return values of C in ascending order, each once.

    Raises
    ------
    InvalidOptionError
        One of them is not a finite number above 0.

    Examples
    --------
    >>> check_grid([1, 0.1, 1])
    (0.1, 1)
    """
    for c in values:
        if not (np.isfinite(c) and c > 0):
            raise InvalidOptionError("c", f"{c:g}", "a finite number above 0, or auto")
    return tuple(sorted(set(values)))
