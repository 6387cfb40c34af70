"""Encode images with the network and the spec of a head."""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from torch import nn

from bottleneck.data import ImageSource
from bottleneck.extraction import ComputeOptions, EncodedBatch, load_encoder
from bottleneck.fitting import Head


def encode_images(
    head: Head,
    source: ImageSource,
    rows: Sequence[int],
    *,
    model: str | nn.Module | None = None,
    weights: str | None = None,
    compute: ComputeOptions = ComputeOptions(),
) -> Iterator[EncodedBatch]:
    """Encode images as the training images of a head were encoded.

    The network is loaded and checked when this function is called; images are read during
    iteration.

    Parameters
    ----------
    head : Head
    source : ImageSource
    rows : sequence of int
        Rows of its table.
    model : str or nn.Module, optional
        The network, if its file has moved or it was given as an object; it must be the same.
    weights : str, optional
        The weights, if their file has moved; they must be the same.
    compute : ComputeOptions
        Device, batch size, threads and pixels. The precision is that of the head's spec.

    Returns
    -------
    iterator of EncodedBatch
        Consecutive batches in the order of `rows`; ``codes`` has the head's layers.

    Raises
    ------
    UntrustedCodeError
        The network is code that the user has never given.
    SpecMismatchError
        The network is not the one that the head was trained on.
    """
    encoder = load_encoder(
        head.spec,
        head.reference,
        list(head.features.layers),
        model=model,
        weights=weights,
        device=compute.device,
        owner="the head",
        next_step="a head reads only codes of its own spec; `bottleneck.fit` makes another",
    )
    size = compute.batch_size or encoder.runner.default_batch_size
    batches = (rows[start : start + size] for start in range(0, len(rows), size))
    return encoder.encode(source, batches, workers=compute.workers, max_pixels=compute.max_pixels)


def codes_side_by_side(head: Head, batch: EncodedBatch) -> NDArray[np.float32]:
    """Return the codes of a batch's valid images as a head reads them, shape (n · views, d)."""
    shape = (len(batch.row), head.features.views, -1)
    layers = [batch.codes[layer].reshape(shape) for layer in head.features.layers]
    codes = layers[0] if len(layers) == 1 else np.concatenate(layers, axis=2)
    return codes[batch.valid].reshape(-1, codes.shape[2])
