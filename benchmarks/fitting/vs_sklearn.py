"""Compare fitting for one C with other solvers: the same rows and objective, runs interleaved.

Run from the project's root: python -m benchmarks.fitting.vs_sklearn
"""

import math
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.svm import LinearSVC

from benchmarks.fitting.torch_lbfgs import TorchLBFGS
from benchmarks.helpers.log import log_row
from benchmarks.helpers.machine import machine
from benchmarks.helpers.synthetic_codes import TrainTest, hymenoptera_codes, synthetic_codes
from benchmarks.profiles import FULL_FITTING, FittingProfile
from bottleneck.linear.estimators import LinearSVM, SoftmaxRegression

# The best of 3 rounds; of one where a fit takes 2 s or more, of 15 where it takes less than 50 ms.
_ROUNDS, _LONG, _MANY_ROUNDS, _SHORT = 3, 2.0, 15, 0.05
_PAUSE = 0.2  # s, in which the threads of the previous fit stop spinning
_GAVE_UP = " †"
_EXACT = 1e-4  # a solver is compared with where its objective's excess is at most this

INTEL = find_spec("sklearnex") is not None


def estimators(clf: str, c: float) -> dict[str, Any]:
    """Return estimators of one objective by name, this package's first; else at their defaults."""
    if clf == "svm":
        return {"LinearSVM": LinearSVM(C=c), "LinearSVC": LinearSVC(C=c, dual="auto")}
    found = {
        "SoftmaxRegression": SoftmaxRegression(C=c),
        "LogisticRegression": LogisticRegression(C=c),
        "torch L-BFGS": TorchLBFGS(C=c),
    }
    if INTEL:
        from sklearnex.linear_model import LogisticRegression as IntelLogisticRegression

        found["scikit-learn-intelex"] = IntelLogisticRegression(C=c)
    return found


@dataclass(frozen=True)
class Fit:
    """One solver's result.

    Attributes
    ----------
    seconds : float
    finished : bool
        Whether it met its own tolerance before its limit of iterations.
    excess : float
        Share by which its objective is above the least that a solver reached.
    predicted : ndarray of int64
        Class of each test row.
    """

    seconds: float
    finished: bool
    excess: float
    predicted: NDArray[np.int64]


@dataclass(frozen=True)
class Comparison:
    """All solvers at one C.

    Attributes
    ----------
    c : float
    ours : Fit
    others : dict of str to Fit
    true : ndarray of int64
        Class of each test row.
    """

    c: float
    ours: Fit
    others: dict[str, Fit]
    true: NDArray[np.int64]

    @property
    def rival(self) -> Fit:
        """Return the fastest of those that came near the minimum, or the one that came nearest."""
        least = min(fit.excess for fit in self.others.values())
        near = [fit for fit in self.others.values() if fit.excess <= max(_EXACT, least)]
        return min(near, key=lambda fit: fit.seconds)

    @property
    def faster(self) -> float:
        """Return the seconds of the rival over those of this package."""
        return self.rival.seconds / self.ours.seconds

    @property
    def different(self) -> float:
        """Return the share of the test rows for which the rival predicts another class."""
        return _share(self.ours.predicted != self.rival.predicted)


def markdown(profile: FittingProfile = FULL_FITTING) -> str:
    """Return a table with a summary for each classifier and kind of codes."""
    with tempfile.TemporaryDirectory() as folder:
        tables = [
            _table(data, clf, [_logged(compare(data, clf, c)) for c in profile.cs])
            for data in _all_codes(profile, Path(folder))
            for clf in ("svm", "softmax")
        ]
    caption = (
        "Seconds of whole calls of `fit` on standardised float32 codes, in turns, each at its "
        f"default tolerance: the best of {_ROUNDS}, of one where it takes {_LONG:.0f} s or more, "
        f"of {_MANY_ROUNDS} where it takes less than {_SHORT:g} s. In brackets, by which share the "
        "objective is above the least of all, computed in float64 from the coefficients by one "
        "function. The ratio is that to the fastest other solver among those for which this share "
        f"is at most {_EXACT:g}, and so are the predictions. "
        f"{_GAVE_UP.strip()} gave up at its limit of iterations."
    )
    if not INTEL:
        caption += " scikit-learn-intelex is not installed (`pip install '.[bench]'`)."
    return "\n\n".join([caption, *tables])


def _logged(comparison: Comparison) -> Comparison:
    log_row(_row(comparison))  # at once: with a large C scikit-learn takes minutes
    return comparison


def compare(data: TrainTest, clf: str, c: float) -> Comparison:
    """Fit and score all solvers."""
    models = estimators(clf, c)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # `finished` tells
        seconds = best_seconds(
            *(
                lambda model=model: model.fit(data.train, data.train_classes)
                for model in models.values()
            )
        )
    values = [
        objective(model, data.train, data.train_classes, clf=clf) for model in models.values()
    ]
    ours, *others = (
        Fit(
            each,
            bool(np.max(model.n_iter_) < model.max_iter),
            value / min(values) - 1,
            model.predict(data.test),
        )
        for each, model, value in zip(seconds, models.values(), values, strict=True)
    )
    names = list(models)[1:]
    return Comparison(c, ours, dict(zip(names, others, strict=True)), data.test_classes)


def best_seconds(*fits: Callable[[], object]) -> list[float]:
    """Return the fewest seconds of each function, measured in interleaved rounds."""
    found = [[_seconds(fit)] for fit in fits]
    short = max(found)[0] < _SHORT
    for _ in range((_MANY_ROUNDS if short else _ROUNDS) - 1):
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
    yield synthetic_codes(*profile.two_classes, classes=2, test=profile.test)
    if profile.photographs:
        yield from hymenoptera_codes(folder)


def _table(data: TrainTest, clf: str, comparisons: Sequence[Comparison]) -> str:
    names = [f"{name}, s" for name in estimators(clf, 1.0)]
    columns = ["C", *names, "ratio", "test accuracy, ours / theirs", "predicted otherwise"]
    lines = [
        f"{clf}, {data.caption}:",
        "",
        f"| {' | '.join(columns)} |",
        "|---" * len(columns) + "|",
        *map(_row, comparisons),
        "",
        _summary(comparisons),
    ]
    return "\n".join(lines)


def _row(comparison: Comparison) -> str:
    ours, rival = comparison.ours, comparison.rival
    seconds = " | ".join(
        f"{fit.seconds:.4f} ({fit.excess:.0e}){'' if fit.finished else _GAVE_UP}"
        for fit in (ours, *comparison.others.values())
    )
    right = (f"{_share(fit.predicted == comparison.true):.1%}" for fit in (ours, rival))
    return (
        f"| {comparison.c:g} | {seconds} | {float(f'{comparison.faster:.2g}'):g} "
        f"| {' / '.join(right)} | {comparison.different:.2%} |"
    )


def _summary(comparisons: Sequence[Comparison]) -> str:
    mean = math.exp(float(np.mean([math.log(comparison.faster) for comparison in comparisons])))
    excess = max(comparison.ours.excess for comparison in comparisons)
    different = max(comparison.different for comparison in comparisons)
    return (
        f"Geometric mean of the ratios: {float(f'{mean:.2g}'):g}. Our objective is at most "
        f"{excess:.0e} above the least; at most {different:.2%} of the test rows are predicted "
        "otherwise."
    )


def _seconds(fit: Callable[[], object]) -> float:
    time.sleep(_PAUSE)
    start = time.perf_counter()
    fit()
    return time.perf_counter() - start


def _share(values: NDArray[np.bool_]) -> float:
    return float(values.mean())


if __name__ == "__main__":
    print(f"{machine()}\n\n{markdown()}")
