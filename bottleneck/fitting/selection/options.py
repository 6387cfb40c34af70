"""Options of the search over C and feature scalings."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from numbers import Integral, Real

from bottleneck.errors import InvalidOptionError, UnknownNameError
from bottleneck.fitting.scoring.metrics import METRICS
from bottleneck.fitting.selection.folds import require_folds
from bottleneck.linear import MAX_C, SCALINGS, ClassifierOptions, require_scaling
from bottleneck.runtime import keep_python_numbers

__all__ = ["RULES", "ClassifierOptions", "SearchOptions", "require_grid"]

RULES = ("best", "1se")


@dataclass(frozen=True)
class SearchOptions:
    """Options of the search over C and feature scalings, validated when created.

    Attributes
    ----------
    c : float or sequence of float, optional
        Values of C to try; without it a coarse grid, then a fine one around the best. Stored as an
        ascending tuple without duplicates.
    cv : int
        Number of cross-validation folds; 0 for none, which needs a single value of C.
    scaling : str
        One of `bottleneck.linear.scaling.SCALINGS`, or ``"auto"`` to try all of them.
    metric : str
        Metric that the search maximises: ``"accuracy"``, ``"balanced"`` or ``"macro_f1"``.
        Several labels an image always use the mean average precision.
    rule : str
        ``"best"``, or ``"1se"`` for the smallest C within one standard error of the best.
    nested : bool
        Whether to judge the choice itself by nested cross-validation: it is made once more without
        each fold, and judged on it. This takes about `cv` times as long again.

    Raises
    ------
    InvalidOptionError, UnknownNameError
        A value is not allowed.

    Examples
    --------
    >>> SearchOptions(c=[1.0, 0.1]).c
    (0.1, 1.0)
    >>> SearchOptions(cv=1)
    Traceback (most recent call last):
    bottleneck.errors.InvalidOptionError: `cv=1`: must be at least 2 folds, or 0 for none
    """

    c: float | Sequence[float] | None = None
    cv: int = 5
    scaling: str = "standardize"
    metric: str = "accuracy"
    rule: str = "best"
    nested: bool = False

    def __post_init__(self) -> None:
        keep_python_numbers(self)
        for name, value, known in (("metric", self.metric, METRICS), ("rule", self.rule, RULES)):
            if not isinstance(value, str):  # a list of several, say
                raise InvalidOptionError(name, value, f"one of {', '.join(known)}")
            if value not in known:
                raise UnknownNameError(name, value, known)
        if self.scaling != "auto":
            require_scaling(self.scaling)
        grid = self.grid
        object.__setattr__(self, "c", grid)
        if not isinstance(self.cv, Integral):
            hint = "images of one group, a column of the CSV `labels`, are in one fold"
            raise InvalidOptionError("cv", self.cv, "a whole number of folds, or 0 for none", hint)
        if self.cv:
            require_folds(self.cv)
            return
        if self.nested:
            raise InvalidOptionError("cv", 0, "at least 2 folds for nested cross-validation")
        if grid is None or len(grid) > 1:
            count = "a whole grid" if grid is None else f"{len(grid)} values"
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
                f"or give one `scaling`: {', '.join(SCALINGS)}",
            )

    @property
    def grid(self) -> tuple[float, ...] | None:
        """Values of C in ascending order; None for the default grids."""
        if self.c is None:
            return None
        if isinstance(self.c, Iterable) and not isinstance(self.c, str):
            return require_grid(self.c)
        return require_grid((self.c,))

    @property
    def scalings(self) -> tuple[str, ...]:
        """Scalings to try."""
        return SCALINGS if self.scaling == "auto" else (self.scaling,)


def require_grid(values: Iterable[float]) -> tuple[float, ...]:
    """Return values of C in ascending order without duplicates.

    Raises
    ------
    InvalidOptionError
        One of them is no number above 0, or is above 1e30, near which numbers overflow.

    Examples
    --------
    >>> require_grid([1.0, 0.1, 1.0])
    (0.1, 1.0)
    """
    cs = tuple(values)
    for c in cs:
        if not (isinstance(c, Real) and 0 < c <= MAX_C):
            raise InvalidOptionError("c", c, f"a number above 0, at most {MAX_C:g}")
    if not cs:
        raise InvalidOptionError("c", cs, "at least one value")
    return tuple(sorted(set(map(float, cs))))  # not NumPy's numbers
