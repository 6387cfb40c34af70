"""Measure how accuracy grows with the number of training images, and where twice as many lead."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bottleneck.fitting.scoring.intervals import Z95
from bottleneck.fitting.scoring.metrics import answers_of, format_metric
from bottleneck.fitting.scoring.resampling import bootstrap_interval, resampled_scores
from bottleneck.fitting.selection.fit_counter import FitCounter
from bottleneck.fitting.selection.fold_search import FoldSearch
from bottleneck.fitting.selection.folds import by_first_row, make_folds
from bottleneck.fitting.selection.options import SearchOptions
from bottleneck.fitting.selection.power_law import fit_power_law, power_law
from bottleneck.linear import SEARCH_TOL, ClassifierOptions, TrainingSet
from bottleneck.runtime import OnProgress, PreformattedText, ignore_progress

# A part of the training images, and how often it is drawn: small parts differ the most.
_DRAWN = {1 / 8: 4, 1 / 4: 2, 1 / 2: 1, 1.0: 1}
_FEWEST_POINTS = 3  # that determine three parameters


@dataclass(frozen=True)
class CurvePoint:
    """Score of classifiers that were trained on a part of the training images.

    Attributes
    ----------
    images : int
        Number of images that each was trained on, the mean over folds.
    score : float
        Metric on the images of the folds that each was trained without.
    standard_error : float
        Of the score, over groups where images have them, and over the parts that were drawn.
    """

    images: int
    score: float
    standard_error: float

    @property
    def interval(self) -> tuple[float, float]:
        """95 % interval of the score."""
        half = Z95 * self.standard_error
        return max(0.0, self.score - half), min(1.0, self.score + half)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return asdict(self)


@dataclass(frozen=True)
class PredictedPoint:
    """Where a learning curve goes: an extrapolation, no measurement.

    Attributes
    ----------
    images : int
        Number of training images.
    score : float
        That of the curve's last point and the gain; at most 1.
    interval : tuple of 2 float
        95 % interval of the score.
    gain : float
        By how much the law rises from the last point of the curve.
    gain_interval : tuple of 2 float
        95 % interval of the gain. The same images judge every point, so that it is narrower than
        that of the score.
    law : tuple of 3 float
        a, b and c of ``a - b * images ** -c``.
    """

    images: int
    score: float
    interval: tuple[float, float]
    gain: float
    gain_interval: tuple[float, float]
    law: tuple[float, float, float]

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return asdict(self)


@dataclass(frozen=True)
class LearningCurve(PreformattedText):
    """Scores of classifiers by the number of training images.

    Attributes
    ----------
    metric : str
        Name of the metric.
    points : tuple of CurvePoint
        In the order of their images. The last one has all images of the other folds.
    predicted : PredictedPoint or None
        For twice as many images as the last point has; None where there are fewer than three
        points, which determine no curve.

    Examples
    --------
    >>> points = CurvePoint(100, 0.80, 0.01), CurvePoint(200, 0.85, 0.01)
    >>> print(LearningCurve("accuracy", points, None))
    trained on 100 200 images: accuracy 80.0% 85.0% (± 1.0 1.0 points)
    """

    metric: str
    points: tuple[CurvePoint, ...]
    predicted: PredictedPoint | None

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {
            "metric": self.metric,
            "points": [point.to_dict() for point in self.points],
            "predicted": None if self.predicted is None else self.predicted.to_dict(),
        }

    def __str__(self) -> str:
        """Format the points with their errors, and what twice as many images would give."""
        images = " ".join(f"{point.images}" for point in self.points)
        scores = " ".join(f"{point.score:.1%}" for point in self.points)
        errors = " ".join(f"{100 * point.standard_error:.1f}" for point in self.points)
        line = f"trained on {images} images: {format_metric(self.metric)} {scores} "
        line += f"(± {errors} points)"
        if self.predicted is None:
            return line
        low, high = (100 * bound for bound in self.predicted.gain_interval)
        return (
            f"{line}\nextrapolated to {self.predicted.images}: {self.predicted.score:.1%}, "
            f"{100 * self.predicted.gain:.1f} points more ({low:.1f} to {high:.1f})"
        )


def learning_curve(
    training: TrainingSet,
    options: ClassifierOptions,
    *,
    c: float,
    scaling: str,
    metric: str = "accuracy",
    folds: int = 5,
    on_progress: OnProgress = ignore_progress,
) -> LearningCurve:
    """Score classifiers on out-of-fold images, trained on an eighth to all of the other folds.

    Parts are nested, have every class in its share, and hold whole groups. An eighth is drawn four
    times, a quarter twice. C and scaling are the ones given, those of the search on all images: a
    search on each part might do a little better on the smallest. The scaling's statistics are those
    of the part.

    The points are extrapolated to twice as many images by a power law, a - b n^-c, where a is at
    most 1 and b not negative (J. Hestness et al., "Deep learning scaling is predictable,
    empirically", 2017; T. Viering and M. Loog, "The shape of learning curves: a review", 2021, who
    find it to fit most often, and no law to fit always). Errors and intervals are those of a
    bootstrap of the images, of whole groups where they have them, and of the drawn parts: the law
    is fitted to every resampling. They do not say whether the law holds beyond the last point.

    Parameters
    ----------
    training : TrainingSet
        n images, with their views if they have several; they are judged by the mean of the views.
    options : ClassifierOptions
        Classifier.
    c : float
        C of the classifier, above 0.
    scaling : str
        Scaling of the features.
    metric : str
        One of `bottleneck.fitting.scoring.metrics.METRICS`; several labels an image always have the
        mean average precision.
    folds : int
        Number of folds, at least 2: those of the search, if it had as many.
    on_progress : callable, optional
        Called with the `Progress` of the classifiers, first with 0 done. A classifier counts for as
        many as its images are more than those of the mean one.

    Returns
    -------
    LearningCurve
        Parts of several labels an image in which no label can be told apart are left out.

    Raises
    ------
    UnknownNameError, InvalidOptionError
        An option has a value that is not allowed: `folds` is below 2, `c` is no number above 0.
    LabelsError
        A class has too few images or groups for two folds.

    Examples
    --------
    >>> from bottleneck.linear.matrix import ArrayMatrix
    >>> classes = np.arange(400) % 2
    >>> codes = np.random.default_rng(0).normal(size=(400, 20)) + 0.5 * classes[:, None]
    >>> training = TrainingSet(ArrayMatrix(codes), classes, 2)
    >>> curve = learning_curve(training, ClassifierOptions("svm"), c=0.01, scaling="none")
    >>> [point.images for point in curve.points], curve.predicted.images
    ([40, 80, 160, 320], 640)
    """
    SearchOptions(c=c, cv=folds, scaling=scaling, metric=metric)  # which refuses wrong values
    splits = make_folds(training, folds)
    weights = [share for share, draws in _DRAWN.items() for _ in range(draws)]
    fits = FitCounter(len(splits), on_progress, weights=weights, unit="fits of the curve")
    values: dict[int, list[NDArray[Any]]] = {}  # by images: of equal parts the largest share's
    for share, draws in _DRAWN.items():
        parts = [
            [(draw_part(training, rows, share, seed=draw), held) for rows, held in splits]
            for draw in range(draws)
        ]
        sizes = [len(rows) for each in parts for rows, _ in each]
        learnable = all(_learnable(training.targets[rows]) for each in parts for rows, _ in each)
        found = []
        for each in parts:
            if learnable:
                on_fit = partial(fits.add, share)
                found.append(_out_of_fold(training, options, each, on_fit, c=c, scaling=scaling))
            fits.finish(share)
        if learnable:
            values[round(float(np.mean(sizes)))] = found
    metric = "mean_average_precision" if training.multilabel else metric
    scores = resampled_scores(
        list(values.values()),
        training.targets,
        training.classes,
        groups=training.groups,
        metric=metric,
    )
    errors = scores[1:].std(axis=0, ddof=1)
    points = tuple(
        CurvePoint(images, float(score), float(error))
        for images, score, error in zip(values, scores[0], errors, strict=True)
    )
    return LearningCurve(metric, points, _extrapolate(points, scores))


def draw_part(
    training: TrainingSet, rows: NDArray[np.int64], share: float, seed: int
) -> NDArray[np.int64]:
    """Draw a share of each class's units among some rows: groups, or images that are alone.

    Parameters
    ----------
    training : TrainingSet
    rows : ndarray of int64, shape (m,)
        Those to draw from, ascending.
    share : float
        Above 0, at most 1. A larger share with the same seed includes a smaller one.
    seed : int

    Returns
    -------
    ndarray of int64, shape (m',)
        Ascending; whole groups, at least one of each class. A group is of the class that most of
        its images have, the first to appear of several.

    Examples
    --------
    >>> from bottleneck.linear.matrix import ArrayMatrix
    >>> training = TrainingSet(ArrayMatrix(np.zeros((8, 1))), np.arange(8) % 2, 2)
    >>> part = draw_part(training, np.arange(8), 0.5, seed=0)
    >>> np.bincount(training.targets[part]).tolist()
    [2, 2]
    """
    if share == 1:
        return rows
    groups = np.arange(len(rows)) if training.groups is None else training.groups[rows]
    _, unit = np.unique(groups, return_inverse=True)
    units = int(unit.max()) + 1
    order = np.random.default_rng(seed).permutation(units)
    taken = np.zeros(units, dtype=bool)
    stratum = np.zeros(units, dtype=np.int64)
    if not training.multilabel:
        targets = by_first_row(training.targets[rows])
        pairs, images = np.unique(unit * training.classes + targets, return_counts=True)
        holder, of = np.divmod(pairs, training.classes)
        most = np.lexsort((of, -images, holder))  # first of each unit: its most frequent class
        stratum = of[most][np.searchsorted(holder, np.arange(units))]
        place = np.argsort(order)
        for minor in np.setdiff1d(of, stratum):  # no group has most of its images in this class
            holders = holder[of == minor]
            taken[holders[place[holders].argmin()]] = True
    drawn = order[np.argsort(stratum[order], kind="stable")]  # class by class, in random order
    sizes = np.bincount(stratum)
    of_class = np.arange(units) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    most_of_class = np.maximum(1, np.rint(share * sizes))
    taken[drawn[of_class < np.repeat(most_of_class, sizes)]] = True
    return rows[taken[unit]]


def _learnable(targets: NDArray[Any]) -> bool:
    """Return whether there is a class, or a label, that some rows have and others do not."""
    return bool((targets != targets[0]).any())


def _out_of_fold(
    training: TrainingSet,
    options: ClassifierOptions,
    parts: Sequence[tuple[NDArray[np.int64], NDArray[np.int64]]],
    on_fit: Callable[[], None],
    *,
    c: float,
    scaling: str,
) -> NDArray[Any]:
    """Return the predicted class of each image, or each label's decision value."""
    found = np.zeros(training.targets.shape, dtype=float if training.multilabel else np.int64)
    for rows, held in parts:
        fold = FoldSearch(training, (rows, held), options, scaling=scaling, max_c=c)
        (solution,) = fold.solve([c], tol=SEARCH_TOL)
        on_fit()
        found[held] = answers_of(fold.decision_values(solution), multilabel=training.multilabel)
    return found


def _extrapolate(
    points: Sequence[CurvePoint], scores: NDArray[np.float64]
) -> PredictedPoint | None:
    """Return the law's value at twice the images of the last point; None for too few points."""
    if len(points) < _FEWEST_POINTS:
        return None
    images = np.array([point.images for point in points], dtype=float)
    # A standard error of 0 comes from few images with equal results, and must not get all weight.
    errors = np.array([point.standard_error for point in points])
    laws = fit_power_law(images, scores, np.maximum(errors, 1e-3))
    last, twice = images[-1], 2 * images[-1]
    gains = power_law(laws, twice) - power_law(laws, last)
    values = np.minimum(scores[:, -1] + gains, 1)
    a, b, c = laws[0]
    return PredictedPoint(
        images=int(twice),
        score=float(values[0]),
        interval=bootstrap_interval(values),
        gain=float(gains[0]),
        gain_interval=bootstrap_interval(gains),
        law=(float(a), float(b), float(c)),
    )
