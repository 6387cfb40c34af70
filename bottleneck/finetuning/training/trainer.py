"""The trainings of a tail: each begins at the same start, on some of the images or on all."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bottleneck.backbones import Tail
from bottleneck.finetuning.loading.batches import Examples
from bottleneck.finetuning.options import TuneOptions
from bottleneck.finetuning.training.loop import train
from bottleneck.finetuning.training.module import TunedModule, start_module
from bottleneck.finetuning.training.run import OnProgress, TrainingProgress, TrainingRun
from bottleneck.linear import TrainingSet
from bottleneck.runtime import ignore_progress


@dataclass(frozen=True)
class Trainer:
    """What the trainings of a tail have in common.

    Attributes
    ----------
    tail : Tail
        As pretrained; it is not changed.
    training : Examples
        n images with their targets.
    codes : TrainingSet
        The pretrained tail's codes of the same images.
    options : TuneOptions
        Options of all trainings.
    c : float
        Weight of the softmax head's loss, for the start.
    resume : Path or None
        See `bottleneck.finetuning.training.loop.train`.
    on_progress : callable
        Called with a `TrainingProgress`, which has the number of the training.
    """

    tail: Tail
    training: Examples
    codes: TrainingSet
    options: TuneOptions
    c: float = 1.0
    resume: Path | None = None
    on_progress: OnProgress = ignore_progress

    def train(
        self,
        lr: float,
        epochs: int,
        *,
        number: int,
        trainings: int,
        fold: tuple[NDArray[np.int64], NDArray[np.int64]] | None = None,
    ) -> tuple[TunedModule, TrainingRun]:
        """Train a copy of the tail.

        Parameters
        ----------
        lr, epochs
            See `bottleneck.finetuning.training.loop.train`.
        number, trainings : int
            Which training it is, from 1, and how many there may be, for the progress.
        fold : tuple of 2 ndarray of int64, optional
            The images to train on and those that are kept back, by ascending index; all to train
            on unless given.

        Returns
        -------
        module : TunedModule
            The trained copy.
        run : TrainingRun
            What the training did, by epoch.
        """
        training, codes, kept_back = self.training, self.codes, None
        if fold is not None:
            rows, others = fold
            kept_back = training.take(others)
            training, codes = training.take(rows), codes.take(rows)

        def on_progress(progress: TrainingProgress) -> None:
            self.on_progress(replace(progress, number=number, trainings=trainings))

        module = start_module(self.tail, codes, self.options, c=self.c)
        run = train(
            module,
            training,
            self.options,
            lr=lr,
            epochs=epochs,
            kept_back=kept_back,
            resume=self.resume,
            on_progress=on_progress,
        )
        return module, run
