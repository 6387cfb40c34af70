"""Encode images with the network and the spec of a head or a tuned tail."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from bottleneck.backbones import Backbone
from bottleneck.data import ImageSource, ViewSet
from bottleneck.extraction import (
    ComputeOptions,
    EncodedBatch,
    make_encoder,
    missing_range_notes,
    require_decoder_of,
)
from bottleneck.fitting import Classifier, Features
from bottleneck.prediction.noted import NotedIterator


@dataclass(frozen=True)
class EncodedImages:
    """The codes of some images as a classifier reads them.

    Attributes
    ----------
    row : ndarray of int64, shape (n,)
        Rows of the source's table.
    valid : ndarray of bool, shape (n,)
        Whether the image gave codes.
    reason : list of n str
        Why an image gave no codes; empty if it did.
    codes : ndarray of float32, shape (valid images · views, d)
        Layers side by side; the views of an image are consecutive rows.
    """

    row: NDArray[np.int64]
    valid: NDArray[np.bool_]
    reason: list[str]
    codes: NDArray[np.float32]


def encode_images(
    classifier: Classifier,
    network: Backbone,
    source: ImageSource,
    rows: Sequence[int],
    *,
    compute: ComputeOptions = ComputeOptions(),
    few_by_modules: bool = False,
) -> NotedIterator[EncodedImages]:
    """Encode images as the training images of a classifier were encoded.

    The network is traced when this function is called; images are read during iteration.

    Parameters
    ----------
    classifier : Classifier
        A head or a tuned tail.
    network : Backbone
        The network of its spec.
    source : ImageSource
    rows : sequence of int
        Rows of its table.
    compute : ComputeOptions
        Device, runtime, batch size, threads and pixels. The precision is that of the classifier's
        spec.
    few_by_modules : bool
        Whether a few images are encoded by the network's own modules, without tracing it: sooner,
        and equal up to rounding to what a cache has of them, not bit by bit.

    Returns
    -------
    NotedIterator of EncodedImages
        Consecutive batches in the order of `rows`. The network runs once for each view, to the
        deepest of the classifier's layers. The notes say what runs it, and why, and
        whether images need a range.
    """
    require_decoder_of(classifier.spec, compute.device, owner=classifier.owner)
    features = classifier.features
    images = len(rows) * features.views
    # OpenVINO converts a traced network.
    may_be_few = few_by_modules and compute.runtime != "openvino"
    encoder = make_encoder(
        network,
        classifier.spec,
        features.layers,
        compute=compute,
        images=images if may_be_few else None,
    )
    encoder.choose_runtime(images)
    size = encoder.batch_size
    batches = (rows[start : start + size] for start in range(0, len(rows), size))
    encoded = encoder.encode(source, batches, ViewSet(range(features.views), features.recipe))
    joined = (_together(views, features) for views in _each(encoded, features.views))
    notes = (*missing_range_notes(source, network.transform), *encoder.runner.notes)
    return NotedIterator(joined, notes)


def _each(batches: Iterator[EncodedBatch], views: int) -> Iterator[list[EncodedBatch]]:
    """Yield the batches of all views of the same images."""
    while same := list(islice(batches, views)):
        yield same


def _together(views: Sequence[EncodedBatch], features: Features) -> EncodedImages:
    """Join the codes of all views and layers of the same images, without those that gave none."""
    plain, n = views[0], len(views[0].row)
    rows = [
        np.hstack([view.codes[layer].reshape(n, -1) for layer in features.layers])[plain.valid]
        for view in views
    ]
    codes = rows[0] if len(rows) == 1 else np.stack(rows, axis=1).reshape(-1, rows[0].shape[1])
    return EncodedImages(plain.row, plain.valid, plain.reason, codes)
