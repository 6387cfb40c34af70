"""One training of a module: epochs of steps, and the scores after each epoch."""

import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from bottleneck.finetuning.loading.batches import Examples
from bottleneck.finetuning.options import FRESH, TuneOptions
from bottleneck.finetuning.training.checkpoint import Checkpoint
from bottleneck.finetuning.training.forward import autocast, logits, memory_format, to_device
from bottleneck.finetuning.training.losses import Loss, score
from bottleneck.finetuning.training.module import TunedModule
from bottleneck.finetuning.training.parallel import (
    mean_over_processes,
    of_first_process,
    own_part,
    processes,
    rank,
    share_gradients,
)
from bottleneck.finetuning.training.run import (
    EpochScores,
    OnProgress,
    TrainingProgress,
    TrainingRun,
)
from bottleneck.finetuning.training.schedule import rate_factor
from bottleneck.runtime import choose_device, ignore_progress, is_out_of_memory

_LARGEST_NORM = 1.0  # of the gradient
_DIVERGED = 10.0  # times the loss of guessing: from three times that much, some recover
_MOMENTUM = 0.9


def train(
    module: TunedModule,
    training: Examples,
    options: TuneOptions,
    *,
    lr: float,
    epochs: int,
    kept_back: Examples | None = None,
    resume: Path | None = None,
    on_progress: OnProgress = ignore_progress,
) -> TrainingRun:
    """Train a module in place.

    Parameters
    ----------
    module : TunedModule
        Where it starts.
    training : Examples
    options : TuneOptions
        But for its `epochs`.
    lr : float
        Largest learning rate of pretrained weights.
    epochs : int
        Epochs of the learning rate's schedule; 0 leaves the module as it is.
    kept_back : Examples, optional
        Images that are judged after each epoch. With `options.patience` training stops when they
        have not got better for so many; the module is that of the last epoch.
    resume : Path, optional
        Folder where the state is kept after each epoch. If the folder has that of the same
        training, it goes on from there: on a CPU to the same weights, bit by bit.
    on_progress : callable, optional
        Called before the first step, with none done, and after each step.

    Returns
    -------
    TrainingRun
    """
    begun = time.monotonic()
    loop = _Loop(module, training, options, lr)
    checkpoint = None
    curves: list[EpochScores] = []
    if resume is not None:
        checkpoint = Checkpoint.of(
            resume,
            module=module,
            training=training,
            kept_back=kept_back,
            options=options,
            lr=lr,
            epochs=epochs,
        )
        curves = [EpochScores(**scores) for scores in checkpoint.load(module, loop.optimizer)]
    diverged = False
    # A new output is no classifier yet: its start must not be the best epoch by chance.
    judge_start = kept_back if options.init == "head" else None
    curves = curves or [_judged(EpochScores(0), module, judge_start, options)]
    first, images = len(curves), len(training) // processes()
    progress = TrainingProgress(
        done=(first - 1) * images,
        total=epochs * images,
        unit="images",
        description=f"{module.tail}; {training.batches}",
        lr=lr,
        epoch=first,
        epochs=epochs,
        images=images,
        kept_back=0 if kept_back is None else len(kept_back),
        scores=curves[-1],
    )
    while len(curves) <= epochs and not _has_stopped(curves, options.patience):
        done = (len(curves) - 1) * images
        progress = replace(progress, done=done, epoch=len(curves), scores=curves[-1])
        if len(curves) == first:
            on_progress(progress)
        loss = loop.run_epoch(progress, on_progress)
        scores = EpochScores(len(curves), loss)
        diverged = not loss <= _DIVERGED * loop.loss.of_guessing
        if diverged:
            curves.append(scores)
            break
        curves.append(_judged(scores, module, kept_back, options))
        if checkpoint is not None and rank() == 0:
            checkpoint.save(module, loop.optimizer, [vars(scores) for scores in curves])
    module.eval()
    seconds, early = time.monotonic() - begun, options.patience is not None
    return TrainingRun(lr, tuple(curves), diverged, seconds, early, loop.max_batch_size)


class _Loop:
    """A module that is trained: its optimizer, and the steps of an epoch.

    Attributes
    ----------
    max_batch_size : int or None
        If a batch did not fit into memory: how many of its images are computed at a time.
    """

    def __init__(
        self, module: TunedModule, training: Examples, options: TuneOptions, lr: float
    ) -> None:
        self.device = choose_device(options.device)
        self._module, self._training, self._options = module.to(self.device), training, options
        self._network = share_gradients(module)
        self._order = memory_format(module, options.precision)
        self.loss = Loss(training, options.class_weight, self.device)
        self.optimizer = make_optimizer(module, options, lr)
        self.max_batch_size: int | None = None
        # Parts of a batch would have other statistics of batch norm. Several processes must take
        # the same number of steps, since they wait for each other's gradients.
        self._divisible = options.batch_norm == "keep" and processes() == 1
        self._largest = [group["lr"] for group in self.optimizer.param_groups]

    def run_epoch(self, start: TrainingProgress, on_progress: OnProgress) -> float:
        """Train for an epoch, and return the mean loss of its images."""
        options, rows, epoch = self._options, self._training.rows, start.epoch
        part = own_part(len(rows), seed=options.seed, epoch=epoch - 1)
        images, total, done = len(part), torch.zeros((), dtype=torch.float32, device=self.device), 0
        set_training(self._module, options.batch_norm)
        cuda = [self.device] if self.device.type == "cuda" else []
        with torch.random.fork_rng(devices=cuda):
            # Dropout depends on nothing before the epoch, so that a training can be continued.
            torch.manual_seed(_epoch_seed(options.seed, epoch))
            for maps, index in self._training.batches.shuffled(
                rows[part],
                seed=options.seed,
                epoch=epoch - 1,
                batch_size=options.batch_size,
            ):
                self._set_rates((epoch - 1 + done / images) / start.epochs)
                total += len(index) * self._step(maps, part[index])
                done += len(index)
                on_progress(replace(start, done=start.done + done))
        assert done == start.images, f"{done} of {start.images} images in an epoch"
        return mean_over_processes(total / images)

    def _set_rates(self, done: float) -> None:
        for group, largest in zip(self.optimizer.param_groups, self._largest, strict=True):
            group["lr"] = largest * rate_factor(done)

    def _step(self, maps: Tensor, index: NDArray[np.int64]) -> Tensor:
        loss = None
        while loss is None:
            try:
                size = min(self.max_batch_size or len(index), len(index))
                loss = self._set_gradients(maps, index, size)
            except (RuntimeError, MemoryError) as error:
                if size == 1 or not (self._divisible and is_out_of_memory(error)):
                    raise
                self.max_batch_size = size // 2
        nn.utils.clip_grad_norm_(self._module.parameters(), _LARGEST_NORM)
        self.optimizer.step()
        return loss

    def _set_gradients(self, maps: Tensor, index: NDArray[np.int64], most: int) -> Tensor:
        """Set the gradients of a batch's mean loss, and return the loss.

        At most `most` images are computed at a time, and their gradients are added.
        """
        self.optimizer.zero_grad(set_to_none=True)
        total = torch.zeros((), dtype=torch.float32, device=self.device)
        for start in range(0, len(index), most):
            some = index[start : start + most]
            with autocast(self.device, self._options.precision):
                part = to_device(maps[start : start + most], self.device, self._order)
                values = self._network(part)
            loss = self.loss(values.float(), some) * (len(some) / len(index))
            torch.autograd.backward(loss)
            total += loss.detach()
        return total


def make_optimizer(module: TunedModule, options: TuneOptions, lr: float) -> torch.optim.Optimizer:
    """Return an optimizer: new weights have ten times the rate, biases and norms no decay.

    Parameters
    ----------
    module : TunedModule
    options : TuneOptions
    lr : float
        Largest learning rate of pretrained weights.
    """
    groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
    for name, parameter in module.named_parameters():
        if not parameter.requires_grad:
            continue
        is_new = options.init != "head" and name.startswith("output.")
        groups.setdefault((is_new, parameter.ndim > 1), []).append(parameter)
    parameters = [
        {
            "params": some,
            "lr": lr * FRESH if is_new else lr,
            "weight_decay": options.decay if decays else 0.0,
        }
        for (is_new, decays), some in groups.items()
    ]
    if options.optimizer == "sgd":
        return torch.optim.SGD(parameters, lr=lr, momentum=_MOMENTUM)
    return torch.optim.AdamW(parameters, lr=lr)


def set_training(module: nn.Module, batch_norm: str) -> None:
    """Bring a module into training mode, but its norms only where they are to learn statistics.

    Parameters
    ----------
    module : nn.Module
    batch_norm : str
        ``"keep"`` or ``"train"``.
    """
    module.train()
    if batch_norm == "keep":
        for part in module.modules():
            if isinstance(part, _NormBase):
                part.eval()


def _judged(
    scores: EpochScores,
    module: TunedModule,
    kept_back: Examples | None,
    options: TuneOptions,
) -> EpochScores:
    """Return the scores of an epoch with those of the images that were kept back."""
    if kept_back is None:
        return scores
    values = of_first_process(logits(module, kept_back, options))
    loss = Loss(kept_back, options.class_weight, torch.device("cpu"))
    mean = float(loss(torch.from_numpy(values), np.arange(len(kept_back))))
    good = score(values, kept_back, options.class_weight) if np.isfinite(values).all() else 0.0
    return replace(scores, kept_back_loss=mean, kept_back_score=good)


def _has_stopped(curves: list[EpochScores], patience: int | None) -> bool:
    """Return whether no epoch since the best one was better; the start is none of them.

    A head that was fitted to the first codes is often worse for some epochs, while these change.
    """
    trained = curves[1:]
    if patience is None or not trained or trained[-1].kept_back_score is None:
        return False
    best = max(trained, key=lambda scores: scores.goodness)
    return trained[-1].epoch - best.epoch >= patience


def _epoch_seed(seed: int, epoch: int) -> int:
    """Return the seed of dropout in an epoch: each process draws for other images."""
    return int(np.random.SeedSequence((seed, epoch, rank())).generate_state(1)[0])
