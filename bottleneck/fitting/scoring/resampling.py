"""Resample images, whole groups of them, to know how exact a score or a difference is."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bottleneck.fitting.scoring.metrics import score_answers

RESAMPLINGS = 200
_SEED = 0  # the same images always have the same samples


def resampled_scores(
    values: Sequence[Sequence[NDArray[Any]]],
    targets: NDArray[Any],
    classes: int,
    *,
    groups: NDArray[np.int64] | None = None,
    metric: str = "accuracy",
) -> NDArray[np.float64]:
    """Score several classifiers on all images, and on bootstrap samples of the same images.

    All classifiers have the same sample, so that a difference of two columns is a paired one. Of
    images in groups, groups are sampled (A. C. Davison and D. V. Hinkley, "Bootstrap methods and
    their application", 1997, section 3.8).

    Parameters
    ----------
    values : sequence of sequence of ndarray
        Of each classifier one or several versions, whose mean score counts; a sample draws among
        the versions too. Each has the predicted class of every image, int64 of shape (n,), or with
        several labels an image the decision values, float64 of shape (n, k).
    targets : ndarray of int64, shape (n,), or of bool, shape (n, k)
        Class of each image, or which labels it has.
    classes : int
        Number of classes or labels, k.
    groups : ndarray of int64, shape (n,), optional
        Group of each image; images are alone by default.
    metric : str
        One of `bottleneck.fitting.scoring.metrics.METRICS`; several labels an image always have the
        mean average precision.

    Returns
    -------
    ndarray of float64, shape (1 + RESAMPLINGS, len(values))
        The first row is of all images.

    Examples
    --------
    >>> targets = np.arange(100) % 2
    >>> right, half = targets, np.zeros(100, dtype=np.int64)
    >>> scores = resampled_scores([[right], [half]], targets, 2)
    >>> scores[0].tolist(), scores[1:].std(axis=0).round(2).tolist()
    ([1.0, 0.5], [0.0, 0.05])
    """

    def score(answers: NDArray[Any], rows: NDArray[np.int64]) -> float:
        return score_answers(targets[rows], answers[rows], classes, metric)

    random, n = np.random.default_rng(_SEED), len(targets)
    count, rows_of = n if groups is None else len(np.unique(groups)), _rows_of(groups)
    everything = np.arange(n)
    scores = [[np.mean([score(one, everything) for one in versions]) for versions in values]]
    while len(scores) <= RESAMPLINGS:
        rows = rows_of(random.integers(count, size=count))
        if targets.ndim == 2 and not targets[rows].any():
            continue  # without a label there is no precision
        means = []
        for versions in values:
            again = np.bincount(random.integers(len(versions), size=len(versions)))
            each = [
                times * score(one, rows)
                for one, times in zip(versions, again, strict=False)
                if times
            ]
            means.append(np.sum(each) / len(versions))
        scores.append(means)
    return np.array(scores)


def bootstrap_interval(samples: NDArray[np.float64]) -> tuple[float, float]:
    """Return the 95 % interval of a value by its bootstrap samples.

    Parameters
    ----------
    samples : ndarray of float64, shape (1 + m,)
        The value itself, which the interval always includes, and its samples.

    Examples
    --------
    >>> [round(bound, 3) for bound in bootstrap_interval(np.linspace(0, 1, 401))]
    [0.0, 0.975]
    """
    low, high = np.quantile(samples[1:], [0.025, 0.975])
    return min(float(low), float(samples[0])), max(float(high), float(samples[0]))


def _rows_of(groups: NDArray[np.int64] | None) -> Callable[[NDArray[Any]], NDArray[Any]]:
    """Return the function that returns the rows of some groups, of 0, 1, … as they are drawn."""
    if groups is None:
        return lambda drawn: drawn
    _, group = np.unique(groups, return_inverse=True)
    order, sizes = np.argsort(group, kind="stable"), np.bincount(group)
    starts = np.cumsum(sizes) - sizes

    def rows(drawn: NDArray[Any]) -> NDArray[Any]:
        ends = np.cumsum(sizes[drawn])
        within = np.arange(ends[-1]) - np.repeat(ends - sizes[drawn], sizes[drawn])
        return np.asarray(order[np.repeat(starts[drawn], sizes[drawn]) + within])

    return rows
