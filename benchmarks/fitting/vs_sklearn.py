"""Compare fitting with scikit-learn: the same rows and objective, runs interleaved."""

import math
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.svm import LinearSVC

from benchmarks.helpers.log import log_row
from benchmarks.helpers.synthetic_codes import TrainTest, hymenoptera_codes, synthetic_codes
from benchmarks.profiles import FULL_FITTING, FittingProfile
from bottleneck.linear.estimators import LinearSVM, SoftmaxRegression

_ROUNDS, _LONG = 3, 2.0  # the best of 3 rounds; of one where a fit takes 2 s or more
_PAUSE = 0.2  # s, in which the threads of the previous fit stop spinning
_GAVE_UP = " †"

# This package's and scikit-learn's estimator for one C; all else is at its default.
ESTIMATORS: dict[str, Callable[[float], tuple[Any, Any]]] = {
    "svm": lambda c: (LinearSVM(C=c), LinearSVC(C=c, dual="auto")),
    "softmax": lambda c: (SoftmaxRegression(C=c), LogisticRegression(C=c)),
}


@dataclass(frozen=True)
class Comparison:
    """Both classifiers at one C; in each pair, this package comes first.

    Attributes
    ----------
    c : float
    seconds : tuple of 2 float
    finished : tuple of 2 bool
        Whether the solver met its own tolerance before its limit of iterations.
    objective : tuple of 2 float
    accuracy : tuple of 2 float
        Of test rows.
    different : float
        Share of the test rows for which the two predict different classes.
    """

    c: float
    seconds: tuple[float, float]
    finished: tuple[bool, bool]
    objective: tuple[float, float]
    accuracy: tuple[float, float]
    different: float

    @property
    def faster(self) -> float:
        """Return the seconds of scikit-learn over those of this package."""
        return self.seconds[1] / self.seconds[0]

    @property
    def excess(self) -> float:
        """Return by which share this package's objective is above scikit-learn's."""
        return self.objective[0] / self.objective[1] - 1


def markdown(profile: FittingProfile = FULL_FITTING) -> str:
    """Return a table with a summary for each classifier and kind of codes."""
    with tempfile.TemporaryDirectory() as folder:
        tables = [
            _table(data, clf, [_logged(compare(data, clf, c)) for c in profile.cs])
            for data in _all_codes(profile, Path(folder))
            for clf in ESTIMATORS
        ]
    caption = (
        "Whole calls of `fit` on standardised float32 codes, in turns, each at its default "
        f"tolerance: the best of {_ROUNDS}, but of one where it takes {_LONG:.0f} s or more. The "
        "objective is computed in float64 from both classifiers' coefficients by one function. "
        f"{_GAVE_UP.strip()} gave up at its limit of iterations."
    )
    return "\n\n".join([caption, *tables])


def _logged(comparison: Comparison) -> Comparison:
    log_row(_row(comparison))  # at once: with a large C scikit-learn takes minutes
    return comparison


def compare(data: TrainTest, clf: str, c: float) -> Comparison:
    """Fit and score both classifiers."""
    models = ESTIMATORS[clf](c)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # `finished` tells
        seconds = best_seconds(
            *(lambda model=model: model.fit(data.train, data.train_classes) for model in models)
        )
    ours, theirs = (model.predict(data.test) for model in models)
    values = [objective(model, data.train, data.train_classes, clf=clf) for model in models]
    return Comparison(
        c=c,
        seconds=(seconds[0], seconds[1]),
        finished=(models[0].converged_, bool(np.max(models[1].n_iter_) < models[1].max_iter)),
        objective=(values[0], values[1]),
        accuracy=(_share(ours == data.test_classes), _share(theirs == data.test_classes)),
        different=_share(ours != theirs),
    )


def best_seconds(*fits: Callable[[], object]) -> list[float]:
    """Return the fewest seconds of each function, measured in interleaved rounds."""
    found = [[_seconds(fit)] for fit in fits]
    for _ in range(_ROUNDS - 1):
        for fit, seconds in zip(fits, found, strict=True):
            if seconds[0] < _LONG:
                seconds.append(_seconds(fit))
    return [min(seconds) for seconds in found]


def objective(model: Any, codes: NDArray[Any], classes: NDArray[np.int64], *, clf: str) -> float:
    """Return ½‖w‖² + C Σ ℓ in float64 for any classifier with `C`, `coef_` and `intercept_`.

    For svm, ℓ is the squared hinge loss summed over one-vs-rest problems, and intercepts are
    penalised. For softmax, ℓ is the log loss, and intercepts are free.
    """
    coef, intercept = (
        np.asarray(part, dtype=np.float64) for part in (model.coef_, model.intercept_)
    )
    margins = codes.astype(np.float64) @ coef.T + intercept
    squares = (coef**2).sum() + ((intercept**2).sum() if clf == "svm" else 0)
    columns = np.arange(len(intercept)) if len(intercept) > 1 else np.ones(1)  # of two: the second
    right = classes[:, None] == columns
    signed = np.where(right, margins, -margins)
    if clf == "svm":
        loss = (np.maximum(0, 1 - signed) ** 2).sum()
    elif len(intercept) == 1:
        loss = np.logaddexp(0, -signed).sum()
    else:
        loss = np.logaddexp.reduce(margins, axis=1).sum() - margins[right].sum()
    return float(squares / 2 + model.C * loss)


def _all_codes(profile: FittingProfile, folder: Path) -> Iterator[TrainTest]:
    yield synthetic_codes(profile.n, profile.d, profile.classes, test=profile.test)
    if profile.photographs:
        yield from hymenoptera_codes(folder)


def _table(data: TrainTest, clf: str, comparisons: Sequence[Comparison]) -> str:
    ours, theirs = (type(model).__name__ for model in ESTIMATORS[clf](1.0))
    lines = [
        f"{clf}, {data.caption}:",
        "",
        f"| C | {ours}, s | {theirs}, s | ratio | objective, ours / theirs "
        "| test accuracy, ours / theirs | predicted otherwise |",
        "|---|---|---|---|---|---|---|",
        *map(_row, comparisons),
        "",
        _summary(comparisons),
    ]
    return "\n".join(lines)


def _row(comparison: Comparison) -> str:
    ours, theirs = (
        f"{seconds:.3f}{'' if finished else _GAVE_UP}"
        for seconds, finished in zip(comparison.seconds, comparison.finished, strict=True)
    )
    accuracy = " / ".join(f"{value:.1%}" for value in comparison.accuracy)
    return (
        f"| {comparison.c:g} | {ours} | {theirs} | {comparison.faster:.2g} "
        f"| {1 + comparison.excess:.6f} | {accuracy} | {comparison.different:.2%} |"
    )


def _summary(comparisons: Sequence[Comparison]) -> str:
    mean = math.exp(float(np.mean([math.log(comparison.faster) for comparison in comparisons])))
    excess = max(comparison.excess for comparison in comparisons)
    different = max(comparison.different for comparison in comparisons)
    return (
        f"Geometric mean of the ratios: {mean:.2g}. Our objective over theirs, less 1, is at most "
        f"{excess:+.1e}; at most {different:.2%} of the test rows are predicted otherwise."
    )


def _seconds(fit: Callable[[], object]) -> float:
    time.sleep(_PAUSE)
    start = time.perf_counter()
    fit()
    return time.perf_counter() - start


def _share(values: NDArray[np.bool_]) -> float:
    return float(values.mean())
