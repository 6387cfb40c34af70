"""Choose the learning rate on a part of the training images that is kept back."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bottleneck.backbones import Tail
from bottleneck.errors import TrainingError
from bottleneck.finetuning.loading.batches import Examples
from bottleneck.finetuning.options import TuneOptions
from bottleneck.finetuning.training.loop import EpochScores, OnProgress, TrainingRun, train
from bottleneck.finetuning.training.module import start_module
from bottleneck.fitting import make_folds
from bottleneck.linear import TrainingSet

_PARTS = 5  # one of which is kept back


@dataclass(frozen=True)
class Choice:
    """A learning rate and a number of epochs, and what they were chosen from.

    Attributes
    ----------
    lr : float
        Largest learning rate of pretrained weights.
    epochs : int
        Epochs to train; 0 where no trial was better than its start.
    runs : tuple of TrainingRun
        A trial of each rate, ascending.
    kept_back : int
        Images on which they were judged.
    """

    lr: float
    epochs: int
    runs: tuple[TrainingRun, ...]
    kept_back: int

    @property
    def start(self) -> EpochScores:
        """The scores before the first step."""
        return self.runs[0].curves[0]

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "lr": self.lr,
            "epochs": self.epochs,
            "kept_back": self.kept_back,
            "trials": [run.to_dict() for run in self.runs],
        }


def choose_recipe(
    tail: Tail,
    training: Examples,
    codes: TrainingSet,
    options: TuneOptions,
    *,
    c: float = 1.0,
    resume: Path | None = None,
    on_progress: OnProgress | None = None,
) -> Choice:
    """Try learning rates on most of the training images, and judge them on the rest.

    One image in five is kept back, as in a fold of cross-validation: of every class, and with all
    images of its group. A rate that diverges is not chosen.

    Parameters
    ----------
    tail : Tail
        The pretrained tail; it is not changed.
    training : Examples
    codes : TrainingSet
        The pretrained tail's codes of the same images.
    options : TuneOptions
    c : float
        Weight of the softmax head's loss, for the start.
    resume : Path, optional
        See `bottleneck.finetuning.train`.
    on_progress : callable, optional

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
    rows, kept_back = make_folds(codes, _PARTS)[0]
    runs = []
    for lr in options.rates(whole_network=tail.boundary is None):
        module = start_module(tail, codes.take(rows), options, c=c)
        runs.append(
            train(
                module,
                training.take(rows),
                options,
                lr=lr,
                epochs=options.epochs,
                kept_back=training.take(kept_back),
                resume=resume,
                on_progress=on_progress,
            )
        )
    sound = [run for run in runs if not run.diverged]
    if not sound:
        tried = ", ".join(f"{run.lr:g}" for run in runs)
        raise TrainingError(
            f"every training diverged, at a learning rate of {tried}", hint="give a smaller `lr`"
        )
    best = max(sound, key=lambda run: run.best.goodness)
    return Choice(best.lr, best.best.epoch, tuple(runs), len(kept_back))
