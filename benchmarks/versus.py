"""Fitting against scikit-learn: the same rows, the same objective, in turns."""

import math
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from codes import TrainTest, hymenoptera_codes, made_codes
from numpy.typing import NDArray
from sizes import FULL, Size
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.svm import LinearSVC

from bottleneck.linear.estimators import LinearSVM, SoftmaxRegression

_TURNS, _LONG = 3, 2.0  # the best of so many turns, but of one where a turn takes so many seconds
_PAUSE = 0.2  # s, in which the threads of the one before stop waiting for more work
_GAVE_UP = " †"

# Ours and theirs for one C; all else is at its default.
RIVALS: dict[str, Callable[[float], tuple[Any, Any]]] = {
    "svm": lambda c: (LinearSVM(C=c), LinearSVC(C=c, dual="auto")),
    "softmax": lambda c: (SoftmaxRegression(C=c), LogisticRegression(C=c)),
}


@dataclass(frozen=True)
class Duel:
    """Both classifiers at one C; of pairs, ours comes first.

    Attributes
    ----------
    c : float
    seconds : tuple of 2 float
    finished : tuple of 2 bool
        Whether it met its own tolerance, rather than giving up at its limit of iterations.
    objective : tuple of 2 float
    accuracy : tuple of 2 float
        Of test rows.
    different : float
        Share of the test rows that the two predict to be of different classes.
    """

    c: float
    seconds: tuple[float, float]
    finished: tuple[bool, bool]
    objective: tuple[float, float]
    accuracy: tuple[float, float]
    different: float

    @property
    def faster(self) -> float:
        """How many times ours goes into theirs."""
        return self.seconds[1] / self.seconds[0]

    @property
    def excess(self) -> float:
        """How far our objective is above theirs, as a share of theirs."""
        return self.objective[0] / self.objective[1] - 1


def markdown(size: Size = FULL) -> str:
    """A table for each classifier and kind of codes, with its summary."""
    with tempfile.TemporaryDirectory() as folder:
        tables = [
            _table(data, clf, [_told(duel(data, clf, c)) for c in size.cs])
            for data in _all_codes(size, Path(folder))
            for clf in RIVALS
        ]
    caption = (
        "Whole calls of `fit` on standardised float32 codes, in turns, each at its default "
        f"tolerance: the best of {_TURNS}, but of one where it takes {_LONG:.0f} s or more. The "
        "objective is computed in float64 from both classifiers' coefficients by one function. "
        f"{_GAVE_UP.strip()} gave up at its limit of iterations."
    )
    return "\n\n".join([caption, *tables])


def _told(duel: Duel) -> Duel:
    """The same, said at once: with a large C scikit-learn takes minutes."""
    print(_row(duel), file=sys.stderr, flush=True)
    return duel


def duel(data: TrainTest, clf: str, c: float) -> Duel:
    """Fit and judge both."""
    models = RIVALS[clf](c)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # `finished` tells
        seconds = taking_turns(
            *(lambda model=model: model.fit(data.train, data.train_classes) for model in models)
        )
    ours, theirs = (model.predict(data.test) for model in models)
    values = [objective(model, data.train, data.train_classes, clf=clf) for model in models]
    return Duel(
        c=c,
        seconds=(seconds[0], seconds[1]),
        finished=(models[0].converged_, bool(np.max(models[1].n_iter_) < models[1].max_iter)),
        objective=(values[0], values[1]),
        accuracy=(_share(ours == data.test_classes), _share(theirs == data.test_classes)),
        different=_share(ours != theirs),
    )


def taking_turns(*fits: Callable[[], object]) -> list[float]:
    """The best seconds of each."""
    found = [[_seconds(fit)] for fit in fits]
    for _ in range(_TURNS - 1):
        for fit, seconds in zip(fits, found, strict=True):
            if seconds[0] < _LONG:
                seconds.append(_seconds(fit))
    return [min(seconds) for seconds in found]


def objective(model: Any, codes: NDArray[Any], classes: NDArray[np.int64], *, clf: str) -> float:
    """½‖w‖² + C Σ ℓ in float64, of any classifier with `C`, `coef_` and `intercept_`.

    Of svm the sum over its classes, each against the rest, the intercepts penalised; of softmax
    the log loss, the intercepts free.
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


def _all_codes(size: Size, folder: Path) -> Iterator[TrainTest]:
    yield made_codes(size.n, size.d, size.classes, test=size.test)
    if size.photographs:
        yield from hymenoptera_codes(folder)


def _table(data: TrainTest, clf: str, duels: Sequence[Duel]) -> str:
    ours, theirs = (type(model).__name__ for model in RIVALS[clf](1.0))
    lines = [
        f"{clf}, {data.caption}:",
        "",
        f"| C | {ours}, s | {theirs}, s | ratio | objective, ours / theirs "
        "| test accuracy, ours / theirs | predicted otherwise |",
        "|---|---|---|---|---|---|---|",
        *map(_row, duels),
        "",
        _summary(duels),
    ]
    return "\n".join(lines)


def _row(duel: Duel) -> str:
    ours, theirs = (
        f"{seconds:.3f}{'' if finished else _GAVE_UP}"
        for seconds, finished in zip(duel.seconds, duel.finished, strict=True)
    )
    accuracy = " / ".join(f"{value:.1%}" for value in duel.accuracy)
    return (
        f"| {duel.c:g} | {ours} | {theirs} | {duel.faster:.2g} "
        f"| {1 + duel.excess:.6f} | {accuracy} | {duel.different:.2%} |"
    )


def _summary(duels: Sequence[Duel]) -> str:
    mean = math.exp(float(np.mean([math.log(duel.faster) for duel in duels])))
    return (
        f"Geometric mean of the ratios: {mean:.2g}. Our objective over theirs, less 1, is at most "
        f"{max(duel.excess for duel in duels):+.1e}; at most "
        f"{max(duel.different for duel in duels):.2%} of the test rows are predicted otherwise."
    )


def _seconds(fit: Callable[[], object]) -> float:
    time.sleep(_PAUSE)
    start = time.perf_counter()
    fit()
    return time.perf_counter() - start


def _share(values: NDArray[np.bool_]) -> float:
    return float(values.mean())
