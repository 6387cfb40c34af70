"""Scores of a classifier on labelled images, for one class or several labels an image."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bottleneck.data import UnknownLabels
from bottleneck.fitting.scoring.intervals import accuracy_interval
from bottleneck.fitting.scoring.metrics import (
    METRICS,
    ClassCounts,
    average_precisions,
    class_counts,
    confusion_matrix,
    format_calibration_error,
    mean_of_known,
    mean_ratio,
    mean_recall,
)
from bottleneck.runtime import PreformattedText, escape_unprintable, format_names, format_table

_MAX_CLASSES = 12  # a larger confusion matrix is unreadable: its largest errors are shown instead


@dataclass(frozen=True, kw_only=True)
class Score(ABC, PreformattedText):
    """Score of a classifier on labelled images.

    Attributes
    ----------
    split : str
        Split of the images; empty where they have no splits.
    n : int
        Number of images that were judged.
    accuracy : float
        Share of images whose class, or whose labels, are all predicted, none too many.
    ci95 : tuple of 2 float or None
        95 % confidence interval of the accuracy, over groups where images have them; None for
        images of one group.
    mean_per_class : float
        Mean recall over the classes that have images.
    classes : list of k str
        Names of the classes.
    ece : float or None
        Expected calibration error; None without probabilities.
    unknown : UnknownLabels
        Images of the split that were not judged, for lack of a class that was trained on.
    groups : int or None
        Number of groups of the images that were judged; None where they have no groups.
    views : int
        Views of an image, by whose mean it was judged.
    plain : float or None
        Accuracy by the plain view alone; None without other views, or where it is not known.
    copies : int
        Images with the same bytes as a training image, as far as these were compared.
    shared_groups : int
        Images of a group that training images have too.
    unused : mapping of str to int
        Labelled images that were neither trained on nor judged, by split; ``""`` is no split.
    """

    split: str
    n: int
    accuracy: float
    ci95: tuple[float, float] | None
    mean_per_class: float
    classes: list[str]
    ece: float | None = None
    unknown: UnknownLabels = UnknownLabels()
    groups: int | None = None
    views: int = 1
    plain: float | None = None
    copies: int = 0
    shared_groups: int = 0
    unused: Mapping[str, int] = field(default_factory=dict)

    @property
    @abstractmethod
    def absent(self) -> list[str]:
        """The classes that have no image here; means by class leave them out."""

    @abstractmethod
    def metric(self, name: str) -> float:
        """Return a metric by which cross-validation chooses, on these images."""

    @abstractmethod
    def format(self) -> str:
        """Format the accuracy, its interval and a table of the classes."""

    @property
    def accuracy_text(self) -> str:
        """The accuracy, and of how many images."""
        return f"{self.accuracy:.1%} of {self.n}"

    @property
    def interval_text(self) -> str:
        """The interval of the accuracy, or why there is none."""
        if self.ci95 is None:
            return "no interval: all images are of one group"
        low, high = self.ci95
        over = "" if self.groups is None else f" over {self.groups} groups"
        return f"95 % interval {low:.1%} to {high:.1%}{over}"

    @property
    def remarks(self) -> list[str]:
        """The lines on images that were not judged, not used, or seen in training."""
        lines = [f"not in the score: {self.unknown}"] if self.unknown.images else []
        if self.copies:
            copies = "1 image has" if self.copies == 1 else f"{self.copies} images have"
            lines.append(
                f"{copies} the same bytes as a training image: the accuracy is too high "
                "(`bottleneck.audit` gives it without them)"
            )
        if self.shared_groups:
            images = "1 image is" if self.shared_groups == 1 else f"{self.shared_groups} images are"
            lines.append(
                f"{images} of a group that training images have too: the accuracy is too high for "
                "new groups"
            )
        if self.unused:
            splits = [f"{n} {f'of {s!r}' if s else 'in no split'}" for s, n in self.unused.items()]
            lines.append(f"labelled images neither trained on nor judged: {format_names(splits)}")
        return lines

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, as ``fit`` and ``evaluate`` print them as JSON."""
        return self.record()

    def record(self) -> dict[str, Any]:
        """Return plain values without a confusion matrix, for the metadata of a file."""
        return {
            "split": self.split,
            "n": self.n,
            "accuracy": self.accuracy,
            "ci95": None if self.ci95 is None else list(self.ci95),
            "groups": self.groups,
            "mean_per_class": self.mean_per_class,
            "classes": self.classes,
            "ece": self.ece,
            "absent": self.absent,
            "unknown": self.unknown.to_dict(),
            "views": self.views,
            "plain": self.plain,
            "copies": self.copies,
            "shared_groups": self.shared_groups,
            "unused": dict(self.unused),
        }

    def __str__(self) -> str:
        """Format the score and what was not judged."""
        return "\n".join([self.format(), *self.remarks])


@dataclass(frozen=True, kw_only=True)
class ClassificationScore(Score):
    """Score of a classifier on images that have one class each.

    Attributes
    ----------
    true, predicted : ndarray of int64, shape (n,)
        Classes of the images, as indices into `classes`.
    """

    true: NDArray[np.int64] = field(repr=False)
    predicted: NDArray[np.int64] = field(repr=False)

    @cached_property
    def counts(self) -> ClassCounts:
        """Count the images of each class, and those that were predicted as it."""
        return class_counts(self.true, self.predicted, len(self.classes))

    @cached_property
    def confusion(self) -> NDArray[np.int64]:
        """Count images by true class (row) and predicted class (column), shape (k, k).

        It is made when it is first looked at, as it grows with the square of the classes.
        """
        return confusion_matrix(self.true, self.predicted, len(self.classes))

    @property
    def absent(self) -> list[str]:
        """The classes that have no image here; means by class leave them out."""
        return [self.classes[k] for k in np.flatnonzero(self.counts.images == 0).tolist()]

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, as ``fit`` and ``evaluate`` print them as JSON."""
        return super().to_dict() | {"confusion": self.confusion.tolist()}

    def metric(self, name: str) -> float:
        """Return one of `bottleneck.fitting.scoring.metrics.METRICS` on these images."""
        return METRICS[name](self.counts)

    def format(self) -> str:
        """Format the accuracy, its interval and the confusion matrix."""
        return f"{_summary_line(self)}\n{self.format_confusion()}"

    def format_confusion(self) -> str:
        """Format the confusion matrix, or of more than 12 classes its largest errors."""
        names = [escape_unprintable(name) for name in self.classes]
        if len(names) <= _MAX_CLASSES:
            rows = zip(names, self.confusion.tolist(), strict=True)
            return format_table(
                ["true \\ predicted", *names], ([name, *map(str, row)] for name, row in rows)
            )
        cells = (self.true * len(names) + self.predicted)[self.true != self.predicted]
        errors, times = np.unique(cells, return_counts=True)
        largest = np.argsort(-times, kind="stable")[:_MAX_CLASSES]
        return format_table(
            ["most often confused", "taken for", "times"],
            (
                [names[error // len(names)], names[error % len(names)], str(count)]
                for error, count in zip(errors[largest], times[largest], strict=True)
            ),
        )


@dataclass(frozen=True, kw_only=True)
class MultilabelScore(Score):
    """Score of a classifier on images that have any number of labels each.

    Attributes
    ----------
    mean_average_precision : float
        Mean average precision over the labels that occur.
    average_precision : dict of str to float or None
        Average precision of each label, as
        `bottleneck.fitting.scoring.metrics.mean_average_precision` defines it; None for a label
        that no image has.
    """

    mean_average_precision: float
    average_precision: dict[str, float | None]

    @property
    def absent(self) -> list[str]:
        """The labels that no image has here; means by label leave them out."""
        return [name for name, value in self.average_precision.items() if value is None]

    @property
    def accuracy_text(self) -> str:
        """The accuracy, which is of all labels of an image together, and of how many images."""
        return f"all labels right for {super().accuracy_text}"

    def record(self) -> dict[str, Any]:
        """Return plain values, as ``fit`` and ``evaluate`` print them as JSON."""
        return super().record() | {
            "mean_average_precision": self.mean_average_precision,
            "average_precision": dict(self.average_precision),
        }

    def metric(self, name: str) -> float:
        """Return the mean average precision, the only metric of several labels an image."""
        return {"mean_average_precision": self.mean_average_precision}[name]

    def format(self) -> str:
        """Format the accuracy, its interval and the average precision of each label."""
        return f"{_summary_line(self)}\n{self.format_precisions()}"

    def format_precisions(self) -> str:
        """Format the average precision of each label and their mean as a table."""
        rows = [
            [escape_unprintable(name), "-" if value is None else f"{value:.1%}"]
            for name, value in self.average_precision.items()
        ]
        return format_table(
            ["label", "average precision"], [*rows, ["mean", f"{self.mean_average_precision:.1%}"]]
        )


def score_classes(
    true: NDArray[np.int64],
    predicted: NDArray[np.int64],
    classes: Sequence[str],
    *,
    split: str,
    groups: NDArray[np.int64] | None = None,
) -> ClassificationScore:
    r"""Compare true and predicted classes.

    Parameters
    ----------
    true, predicted : ndarray of int64, shape (n,)
        Indices into `classes`; n is at least 1.
    classes : sequence of k str
        Class names.
    split : str
        Split of these images; empty where they have no splits.
    groups : ndarray of int64, shape (n,), optional
        Group of each image, such as a patient; images are alone by default.

    Examples
    --------
    >>> score = score_classes(np.array([0, 0, 1]), np.array([0, 1, 1]), ["ant", "bee"], split="val")
    >>> print(score)
    held-out val  66.7% of 3 (95 % interval 20.8% to 93.9%), mean per class 75.0%
    true \ predicted  ant  bee
    ant                 1    1
    bee                 0    1
    """
    correct = true == predicted
    counts = class_counts(true, predicted, len(classes))
    return ClassificationScore(
        split=split,
        n=len(true),
        accuracy=float(correct.mean()),
        ci95=accuracy_interval(correct, groups),
        groups=None if groups is None else len(np.unique(groups)),
        mean_per_class=mean_recall(counts),
        classes=list(classes),
        true=true,
        predicted=predicted,
    )


def score_labels(
    true: NDArray[np.bool_],
    decision_values: NDArray[np.float64],
    classes: Sequence[str],
    *,
    split: str,
    groups: NDArray[np.int64] | None = None,
) -> MultilabelScore:
    """Compare true labels with decision values; a label is predicted where its value is above 0.

    Parameters
    ----------
    true : ndarray of bool, shape (n, k)
        Whether image i has label j; n is at least 1.
    decision_values : ndarray of float64, shape (n, k)
        Score of each label.
    classes : sequence of k str
        Labels.
    split : str
        Split of these images; empty where they have no splits.
    groups : ndarray of int64, shape (n,), optional
        Group of each image, such as a patient; images are alone by default.

    Raises
    ------
    LabelsError
        No image has any label.

    Examples
    --------
    >>> true = np.array([[True, False], [True, True]])
    >>> score = score_labels(true, np.array([[1.0, -2.0], [0.5, 1.0]]), ["ant", "bee"], split="val")
    >>> score.accuracy, score.mean_average_precision
    (1.0, 1.0)
    """
    predicted = decision_values > 0
    correct = (predicted == true).all(axis=1)
    precisions = average_precisions(true, decision_values)
    return MultilabelScore(
        split=split,
        n=len(true),
        accuracy=float(correct.mean()),
        ci95=accuracy_interval(correct, groups),
        groups=None if groups is None else len(np.unique(groups)),
        mean_per_class=mean_ratio((predicted & true).sum(axis=0), true.sum(axis=0)),
        mean_average_precision=mean_of_known(precisions),
        average_precision=dict(zip(classes, precisions, strict=True)),
        classes=list(classes),
    )


def _summary_line(score: Score) -> str:
    """Return the accuracy and what belongs to it; a second line says what the views gave."""
    names = {"": "all images", "train": "training split"}
    name = names.get(score.split, f"held-out {score.split}")
    return (
        f"{name}  {score.accuracy_text} "
        f"({score.interval_text}), mean per class {score.mean_per_class:.1%}"
        f"{_absent_text(score)}{format_calibration_error(score.ece)}"
        f"{_views_text(score)}"
    )


def _views_text(score: Score) -> str:
    if score.views == 1:
        return ""
    alone = "" if score.plain is None else f"; the plain image alone {score.plain:.1%}"
    return f"\nby the mean of {score.views} views{alone}"


def _absent_text(score: Score) -> str:
    """Return over which classes a mean is, if some have no images; empty otherwise."""
    absent, k = score.absent, len(score.classes)
    if not absent:
        return ""
    return f" ({k - len(absent)} of {k} classes: no image of {format_names([*map(repr, absent)])})"
