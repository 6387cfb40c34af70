"""Records of a training: the scores of each epoch, the finished run, the progress."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from bottleneck.runtime import Progress


@dataclass(frozen=True)
class EpochScores:
    """What an epoch of training achieved.

    Attributes
    ----------
    epoch : int
        Epochs that were trained before; 0 is the start, which is judged if it is a fitted head.
    loss : float or None
        Mean loss of the training images during the epoch; None at the start.
    kept_back_loss, kept_back_score : float or None
        Loss of the images that were kept back after the epoch, and their accuracy: balanced with
        class weights, mean average precision with several labels an image. None without them.
    """

    epoch: int
    loss: float | None = None
    kept_back_loss: float | None = None
    kept_back_score: float | None = None

    @property
    def goodness(self) -> tuple[float, float]:
        """By which epochs are compared: the score, then the loss."""
        if self.kept_back_score is None or self.kept_back_loss is None:
            return (-math.inf, -math.inf)
        return (self.kept_back_score, -self.kept_back_loss)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values; None for a loss that is not finite, which JSON has no number for."""
        return {
            name: value if value is None or math.isfinite(value) else None
            for name, value in vars(self).items()
        }


@dataclass(frozen=True)
class TrainingRun:
    """A training that has ended.

    Attributes
    ----------
    lr : float
        Largest learning rate of pretrained weights.
    curves : tuple of EpochScores
    diverged : bool
        Whether the loss became infinite, NaN, or far above that of guessing: then the module is of
        no use.
    seconds : float
        Without the time before a restart.
    early_stopping : bool
        Whether the training may be of fewer epochs than its schedule.
    max_batch_size : int or None
        If a batch did not fit into memory: how many of its images were computed at a time. Their
        gradients were added, so that the steps are those of whole batches.

    Examples
    --------
    >>> run = TrainingRun(1e-3, (EpochScores(0, None, 1.0, 0.5), EpochScores(1, 0.9, 0.8, 0.7)),
    ...                   diverged=False, seconds=1.0)
    >>> run.best.epoch
    1
    """

    lr: float
    curves: tuple[EpochScores, ...]
    diverged: bool
    seconds: float
    early_stopping: bool = False
    max_batch_size: int | None = None

    @property
    def start(self) -> EpochScores:
        """The scores before the first step."""
        return self.curves[0]

    @property
    def best(self) -> EpochScores:
        """The last epoch; with early stopping, the trained epoch of the highest score.

        Of equal scores that of the lowest loss, then the earliest. Without early stopping the
        highest score is ignored: while the learning rate is high, it is mostly chance.
        """
        if not self.early_stopping:
            return self.curves[-1]
        return max(self.curves[1:] or self.curves, key=lambda scores: scores.goodness)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "lr": self.lr,
            "diverged": self.diverged,
            "seconds": self.seconds,
            "max_batch_size": self.max_batch_size,
            "curves": [scores.to_dict() for scores in self.curves],
        }


@dataclass(frozen=True)
class TrainingProgress(Progress):
    """How far a training has come.

    Attributes
    ----------
    done, total : int
        Images that were trained on in all epochs, and how many there may be.
    description : str
        What is trained, and on what.
    lr : float
    epoch : int
        The epoch that is under way, from 1.
    epochs : int
        The last one that there may be.
    images : int
        Images of an epoch.
    kept_back : int
        Images that the epochs are judged by; 0 in the last training, which has all.
    scores : EpochScores
        Of the epoch before.
    number, trainings : int
        Which training it is, from 1, and how many there may be: trials and the last one.
    """

    description: str
    lr: float
    epoch: int
    epochs: int
    images: int
    kept_back: int
    scores: EpochScores
    number: int = 1
    trainings: int = 1


OnProgress = Callable[[TrainingProgress], None]
