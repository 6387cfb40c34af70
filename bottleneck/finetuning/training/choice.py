"""Choose the learning rate on a part of the training images that is kept back."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np

from bottleneck.errors import TrainingError
from bottleneck.finetuning.training.run import EpochScores, TrainingRun
from bottleneck.finetuning.training.trainer import Trainer
from bottleneck.fitting import make_folds

_PARTS = 5  # one of which is kept back
_ENOUGH = 200  # images judged: the standard error of their accuracy is then 2 points or so


@dataclass(frozen=True)
class Repeats:
    """Trials of the chosen rate with other parts of the training images kept back.

    Attributes
    ----------
    runs : tuple of TrainingRun
        A trial for each further part.
    images : int
        Images of all parts that were kept back in turn, the first one with them.
    start, end : EpochScores
        Scores of all these images before and after the training: the means over the parts.
    """

    runs: tuple[TrainingRun, ...]
    images: int
    start: EpochScores
    end: EpochScores

    @classmethod
    def of(cls, first: TrainingRun, others: Sequence[TrainingRun], images: Sequence[int]) -> Self:
        """Return the means of a trial and its repeats.

        Parameters
        ----------
        first : TrainingRun
        others : sequence of TrainingRun
        images : sequence of int
            How many the first one kept back, and each of the others.
        """
        runs = [first, *others]
        start = _mean([run.start for run in runs], images)
        return cls(tuple(others), sum(images), start, _mean([run.best for run in runs], images))

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "images": self.images,
            "start": self.start.to_dict(),
            "end": self.end.to_dict(),
            "trials": [run.to_dict() for run in self.runs],
        }


@dataclass(frozen=True)
class Choice:
    """A learning rate and a number of epochs, and what they were chosen from.

    Attributes
    ----------
    lr : float
        Largest learning rate of pretrained weights.
    epochs : int
        Epochs to train; 0 where training was no better than its start.
    runs : tuple of TrainingRun
        A trial of each rate, ascending.
    kept_back : int
        Images on which they were judged.
    repeats : Repeats or None
        What the chosen rate achieves on more images; None where those kept back were enough.
    """

    lr: float
    epochs: int
    runs: tuple[TrainingRun, ...]
    kept_back: int
    repeats: Repeats | None = None

    @property
    def start(self) -> EpochScores:
        """The scores before the first step, of the images on which each rate was judged."""
        return self.runs[0].start

    @property
    def trials(self) -> int:
        """How many trainings the choice took."""
        return len(self.runs) + (len(self.repeats.runs) if self.repeats else 0)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "lr": self.lr,
            "epochs": self.epochs,
            "kept_back": self.kept_back,
            "trials": [run.to_dict() for run in self.runs],
            "repeats": self.repeats and self.repeats.to_dict(),
        }


def choose_recipe(trainer: Trainer) -> Choice:
    """Try learning rates on most of the training images, and judge them on the rest.

    One image in five is kept back, as in a fold of cross-validation: of every class, and with all
    images of its group. A rate that diverges is not chosen. Where so few are kept back that chance
    decides between the best trial and its start, that trial is repeated with other fifths kept
    back, and all of them decide.

    Parameters
    ----------
    trainer : Trainer
        Of all training images.

    Returns
    -------
    Choice

    Raises
    ------
    LabelsError
        A class has too few images or groups to keep one back.
    TrainingError
        Every rate diverged.
    """
    folds, options = make_folds(trainer.codes, _PARTS), trainer.options
    images = [len(kept_back) for _, kept_back in folds]
    rates = options.rates(whole_network=trainer.tail.boundary is None)
    # A new output is no classifier yet: its start is not compared.
    parts = _parts_for(_ENOUGH, images) if options.init == "head" else 1
    trainings = len(rates) + parts  # with the last one, which is on all images

    def try_rate(number: int, lr: float, trainer: Trainer, part: int = 0) -> TrainingRun:
        epochs = trainer.options.epochs
        _, run = trainer.train(lr, epochs, number=number, trainings=trainings, fold=folds[part])
        return run

    runs = tuple(try_rate(number, lr, trainer) for number, lr in enumerate(rates, 1))
    best = _best(runs)
    start, end, repeats = best.start, best.best, None
    if parts > 1:
        # As the last training will be: with early stopping its schedule is as short as its epochs.
        as_last = replace(trainer, options=replace(options, epochs=end.epoch, patience=None))
        others = [try_rate(len(rates) + part, best.lr, as_last, part) for part in range(1, parts)]
        repeats = Repeats.of(best, others, images[:parts])
        start, end = repeats.start, repeats.end
    epochs = end.epoch if end.goodness > start.goodness else 0
    return Choice(best.lr, epochs, runs, images[0], repeats)


def _best(runs: Sequence[TrainingRun]) -> TrainingRun:
    """Return the trial that ended best; those that diverged are none."""
    sound = [run for run in runs if not run.diverged]
    if not sound:
        tried = ", ".join(f"{run.lr:g}" for run in runs)
        raise TrainingError(
            f"every training diverged, at a learning rate of {tried}", hint="give a smaller `lr`"
        )
    return max(sound, key=lambda run: run.best.goodness)


def _parts_for(enough: int, images: Sequence[int]) -> int:
    """Return how many parts have enough images together, or all parts."""
    return min(int(np.searchsorted(np.cumsum(images), enough)) + 1, len(images))


def _mean(scores: Sequence[EpochScores], images: Sequence[int]) -> EpochScores:
    """Return the scores of several parts as one; none where training diverged on a part."""
    epoch = scores[0].epoch
    if any(one.kept_back_score is None for one in scores):
        return EpochScores(epoch)
    loss, score = np.average(
        [(one.kept_back_loss, one.kept_back_score) for one in scores], axis=0, weights=images
    )
    return EpochScores(epoch, None, float(loss), float(score))
