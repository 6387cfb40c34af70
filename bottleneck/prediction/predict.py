"""Predict: classify new images with a head or a tuned tail, and its network."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from torch import nn

from bottleneck.data import ImageSource
from bottleneck.extraction import ComputeOptions
from bottleneck.fitting import Classifier
from bottleneck.prediction.encoding import EncodedImages, encode_images
from bottleneck.prediction.inputs import open_head, open_sources
from bottleneck.prediction.network import network_loader


@dataclass(frozen=True)
class Prediction:
    """Labels and scores of one image.

    Attributes
    ----------
    path : Path
    label : str
        The class of the highest score. For a multi-label head, all labels of the image with ``|``
        between them, or ``""``. Empty where the image gave no codes.
    scores : dict of str to float
        Score of every class, highest first: probabilities, or margins of an uncalibrated head.
    reason : str
        Why the image gave no codes; ``""`` where it did.
    """

    path: Path
    label: str
    scores: dict[str, float]
    reason: str


def predict(
    head: Classifier | str | os.PathLike[str],
    images: str | os.PathLike[str] | Sequence[str | os.PathLike[str]] | ImageSource,
    *,
    views: int | None = None,
    model: str | nn.Module | None = None,
    weights: str | None = None,
    compute: ComputeOptions = ComputeOptions(),
) -> Iterator[Prediction]:
    """Classify new images.

    The head, the names of the images and the network are checked when this function is called;
    images are read and classified during iteration, one batch at a time.

    Parameters
    ----------
    head : Head, TunedTail or path
        A head, a tuned tail, or the file of one.
    images : path, sequence of paths, or ImageSource
        Files, folders, patterns such as ``"new/*.jpg"``, CSVs with a column ``path``, archives,
        tables and arrays, mixed as needed.
    views : int, optional
        Views of each image whose decision values are averaged, counted from the plain one. By
        default those that the head was trained with; 1 takes one pass of the network an image.
    model : str or nn.Module, optional
        The network, if its file has moved or it was given as an object; it must be the same.
    weights : str, optional
        The weights, if their file has moved; they must be the same.
    compute : ComputeOptions
        Device, batch size and threads. The precision is that of the head's spec.

    Returns
    -------
    iterator of Prediction
        One for each image, in the given order.

    Raises
    ------
    HeadError
        The file is neither a head nor a tuned tail.
    ImagesNotFoundError
        A name matches no image.
    UntrustedCodeError
        The network is code that the user has never given.
    SpecMismatchError
        The network is not the one that the head was trained on.

    Examples
    --------
    >>> for prediction in predict("head-svm-layer3.safetensors", "new/*.jpg"):  # doctest: +SKIP
    ...     print(prediction.path, prediction.label)
    new/a.jpg cat
    new/b.jpg dog
    """
    opened = open_head(head, views)
    source = open_sources(images)
    network = network_loader(opened, model=model, weights=weights)
    ready = opened.with_network(network, compute.device)
    batches = encode_images(ready, network(), source, range(len(source.table)), compute=compute)
    return (found for batch in batches for found in _classify_batch(ready, source, batch))


def _classify_batch(
    head: Classifier, source: ImageSource, batch: EncodedImages
) -> Iterator[Prediction]:
    margins = head.decision_function(batch.codes)
    scores = head.predict_scores(margins)
    order = np.argsort(-scores, axis=1, kind="stable")
    rows = zip(head.predict_labels(margins), scores.tolist(), order.tolist(), strict=True)
    for row, is_valid, reason in zip(
        batch.row.tolist(), batch.valid.tolist(), batch.reason, strict=True
    ):
        path = Path(source.path(row))
        if not is_valid:
            yield Prediction(path, "", {}, reason)
            continue
        label, values, ranking = next(rows)
        yield Prediction(path, label, {head.classes[k]: values[k] for k in ranking}, "")
