"""Tune: train the layers behind a cached one, or a whole network, and say whether it pays."""

import os
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import cast

import numpy as np
from numpy.typing import NDArray
from torch import nn

from bottleneck.cache import CacheLike, holds_codes, open_cache
from bottleneck.data import ImageSource, open_images
from bottleneck.errors import InvalidOptionError, TrainingError
from bottleneck.extraction import TransformLike, transform_fields
from bottleneck.finetuning.loading.batches import Examples
from bottleneck.finetuning.loading.dataset import TuningDataset, load_from_cache, load_from_images
from bottleneck.finetuning.options import TuneOptions
from bottleneck.finetuning.training.choice import choose_recipe
from bottleneck.finetuning.training.forward import tail_codes
from bottleneck.finetuning.training.module import choose_output_c, install_head
from bottleneck.finetuning.training.parallel import process_group
from bottleneck.finetuning.training.run import OnProgress
from bottleneck.finetuning.training.trainer import Trainer
from bottleneck.finetuning.tune_result import TuneResult
from bottleneck.finetuning.tuned_tail import TunedTail
from bottleneck.fitting import (
    ClassifierOptions,
    CodeDataset,
    Features,
    FitResult,
    LabelSource,
    PairedComparison,
    SearchOptions,
    Views,
    compare_pairs,
    fit_dataset,
    labelled_images,
    matrix_values,
    predicted_right,
    score_values,
)
from bottleneck.linear import TrainingSet
from bottleneck.runtime import (
    choose_device,
    ignore_progress,
    memory_errors,
    native_precision,
    require_left_out,
    require_options,
    retain_freed_memory,
)


def tune(
    source: CacheLike | ImageSource,
    *,
    layer: str | None = None,
    options: TuneOptions = TuneOptions(),
    views: Views | None = None,
    labels: LabelSource | None = None,
    memory: int | None = None,
    model: str | nn.Module | None = None,
    weights: str | os.PathLike[str] | None = None,
    transform: TransformLike | None = None,
    augmentations: Sequence[str] | None = None,
    resume: str | os.PathLike[str] | None = None,
    on_progress: OnProgress = ignore_progress,
) -> TuneResult:
    """Train the layers behind a cached one; or, from images, the whole network.

    Processes that torchrun has started train together, and each returns the same.

    The layers start from their pretrained weights, and the new output from the softmax head that
    is fitted to their codes (`TuneOptions.init`). The learning rate is chosen on a part of
    the training images that is kept back; then all training images are trained on. If training ends
    no better than its start, the layers stay as they were, and their output is the softmax head
    beside the result. The held-out split is used once, after that: for the result, and for that
    softmax head.

    Parameters
    ----------
    source : cache or images
        A cache (str, PathLike, Cache or object with a ``cache``) with the maps of a layer, as
        ``pool="none"`` keeps them, or beside codes the name ``layer3@none``; or images with labels,
        as `bottleneck.extract` takes them.
    layer : str, optional
        For a cache: the layer behind which the network is trained. Every path through the network
        must pass it. Of codes and maps of one layer, its name means the maps. Needed where the
        cache has maps of several layers.
    options : TuneOptions
        How it is trained.
    views : int or "all", optional
        Views of each image, counted from the plain one. Of a cache, an epoch shows one of them, the
        next epoch the next one; all of the cache by default. Images are augmented anew in each
        epoch. In either case an image is judged by the mean of this many; of images 1 by default.
    labels : str, PathLike or LabelledImages, optional
        For a cache: CSV with the columns ``path,label[,split][,group]`` that replaces its labels.
    memory : int, optional
        For a cache: bytes for its maps; half of the free memory by default. Maps that do not fit
        are read through a shuffle buffer.
    model : str or nn.Module, optional
        For a cache: the network, if its file has moved or it was given as an object. For images:
        the network, which must be given; see `bottleneck.extract`.
    weights : str or PathLike, optional
        For a cache: the weights, if their file has moved. For images: see `bottleneck.extract`.
    transform : InputTransform or mapping, optional
        For images: what replaces the input of the weights, or some of its fields.
    augmentations : sequence of str, optional
        For images: what each epoch's pictures may be, ``("flip", "crop")`` by default; none if it
        is empty. See `bottleneck.ViewRecipe`.
    resume : str or PathLike, optional
        A folder where the state of the training is kept after each epoch. The same call goes on
        from there. It is not removed.
    on_progress : callable, optional
        Called with a `TrainingProgress` before each training and after each step.

    Returns
    -------
    TuneResult

    Raises
    ------
    TrainingError
        The training diverged: there is no result.
    DeviceMemoryError
        A batch does not fit into the memory of the device.
    CacheError
        What the cache has of the layer are not its maps, or not all of them.
    InvalidOptionError, UnknownNameError
        An option is not allowed, or the network does not part at the layer.
    LabelsError
        The labels do not allow a classifier to be trained or scored.
    SpecMismatchError, UntrustedCodeError
        The network is not that of the cache, or is code that the user has never given.

    Examples
    --------
    >>> import bottleneck as bn  # doctest: +SKIP
    >>> bn.extract(
    ...     "photos", "maps.cache", model="squeezenet1_1", layers=["features.11"], pool="none"
    ... )  # doctest: +SKIP
    >>> result = bn.tune("maps.cache", layer="features.11")  # doctest: +SKIP
    >>> result.score, result.verdict  # doctest: +SKIP
    (0.879, 'take the tuned tail: it is better by 5.1 points, which is more than chance')
    >>> result.tail.save("tail.safetensors")  # doctest: +SKIP
    """
    start, summary = time.monotonic(), None
    require_options(options=(options, TuneOptions))
    folder = None if resume is None else Path(resume)
    if folder is not None and folder.exists() and not folder.is_dir():
        raise InvalidOptionError(
            "resume", str(folder), "a folder", "a training's state is kept in it"
        )
    if holds_codes(source):
        for_images = transform_fields(transform) | {"augmentations": augmentations}
        require_left_out("it is for images, not for a cache", **for_images)
        cache = open_cache(source)
        images = labelled_images(cache, labels)
        summary = images.summary
        dataset = load_from_cache(
            cache,
            images.table,
            layer,
            views="all" if views is None else views,
            model=model,
            weights=weights,
            memory=memory,
        )
    else:
        # A path that is neither is refused here.
        images_to_train = open_images(cast(ImageSource, source))
        for_cache = {"layer": layer, "labels": labels, "memory": memory}
        require_left_out("it is for a cache, not for images", **for_cache)
        dataset = load_from_images(
            images_to_train,
            model,
            weights="DEFAULT" if weights is None else weights,
            transform=transform,
            views=1 if views is None else views,
            augmentations=augmentations,
            seed=options.seed,
        )
    too_large = memory_errors(
        f"training on {options.batch_size} images at a time takes more memory than there is",
        "give a smaller `batch_size`",
    )
    with process_group(), retain_freed_memory(), too_large:
        result = _tune(dataset, options, resume=folder, on_progress=on_progress)
    return replace(result, labels=summary).with_seconds(time.monotonic() - start)


def _tune(
    dataset: TuningDataset,
    options: TuneOptions,
    *,
    resume: Path | None,
    on_progress: OnProgress,
) -> TuneResult:
    training, heldout, tail = dataset.training, dataset.heldout, dataset.tail
    # The record names the precision that was computed in, and not one that the device lacks.
    precision = native_precision(options.precision, choose_device(options.device))
    options = replace(options, precision=precision)
    codes = tail_codes(tail, training, options)
    held_codes = tail_codes(tail, heldout, options) if heldout else None
    linear = _fit_linear(dataset, codes, held_codes, options)
    resume = resume and resume / dataset.digest(codes)[:32]
    c = choose_output_c(codes, options)
    trainer = Trainer(tail, training, codes, options, c, resume, on_progress)
    choice = choose_recipe(trainer)
    last = choice.trials + 1
    module, run = trainer.train(choice.lr, choice.epochs, number=last, trainings=last)
    if run.diverged:
        raise TrainingError(
            f"training diverged in epoch {len(run.curves) - 1} of {choice.epochs} at learning rate "
            f"{choice.lr:.2g}, and there is no result: try a smaller `lr`"
        )
    if not choice.epochs:  # no epoch was better than the linear head
        install_head(module, linear.head)
    tuned = TunedTail.of_module(module, options, training_record={}, **dataset.fields)
    score, comparison = None, None
    if heldout is not None and held_codes is not None:  # used once, after all has been chosen
        values = _values_of_maps(tuned, heldout, options.batch_size)
        score = score_values(
            tuned, values, heldout.targets, dataset.labelled.judged, groups=heldout.groups
        )
        comparison = _compare(tuned, values[0], linear, held_codes)
    return TuneResult(
        tail=tuned,
        heldout=score,
        linear=linear,
        comparison=comparison,
        choice=choice,
        run=run,
        train=len(training),
        train_digest=dataset.train_digest,
        seconds=0.0,
        labels=None,
        rejected=dataset.rejected,
    )


def _fit_linear(
    dataset: TuningDataset, codes: TrainingSet, heldout: TrainingSet | None, options: TuneOptions
) -> FitResult:
    """Fit the softmax head to codes of the pretrained layers, as the start and for comparison."""
    features = dataset.features
    of_codes = CodeDataset(
        # As `extract` makes codes, so that the head can be used on them.
        spec=replace(dataset.spec, relu=True, pool="avg"),
        reference=dataset.reference,
        features=Features((dataset.tail.output,), features.views, features.recipe),
        labelled=dataset.labelled,
        training=codes,
        heldout=heldout,
    )
    softmax = ClassifierOptions("softmax", class_weight=options.class_weight)
    return fit_dataset(of_codes, softmax, SearchOptions())


def _values_of_maps(tuned: TunedTail, examples: Examples, batch_size: int) -> NDArray[np.float64]:
    """Return the decision values of images, and those of their plain view, shape (2, n, k)."""
    one = tuned.with_views(1)
    batches = examples.batches.ordered(examples.rows, batch_size=batch_size)
    views = np.concatenate(
        [one.decision_function(maps.float().flatten(1).numpy()) for maps, _ in batches]
    ).reshape(len(examples), examples.batches.views, -1)
    return np.stack([views.mean(axis=1), views[:, 0]])


def _compare(
    tuned: TunedTail, values: NDArray[np.float64], linear: FitResult, codes: TrainingSet
) -> PairedComparison:
    linear_values = matrix_values(linear.head, codes.codes)[0]
    return compare_pairs(
        predicted_right(tuned, values, codes.targets),
        predicted_right(linear.head, linear_values, codes.targets),
        codes.groups,
    )
