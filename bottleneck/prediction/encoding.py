"""Encode images with the network and the spec of a head."""

from collections.abc import Iterator, Sequence

from bottleneck.data.images import ImageSource
from bottleneck.extraction.encoder import EncodedBatch
from bottleneck.extraction.loading import load_encoder
from bottleneck.fitting.head import Head
from bottleneck.runtime.validation import require_positive


def encode_images(
    head: Head,
    source: ImageSource,
    rows: Sequence[int],
    *,
    model: str | None = None,
    weights: str | None = None,
    device: str = "auto",
    batch_size: int | None = None,
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
    model, weights : str, optional
        The network's present location, if it moved; it must be the same network.
    device : str
        As in `bottleneck.runtime.devices.choose_devices`.
    batch_size : int, optional
        Images in one forward pass; chosen for the device unless given.

    Returns
    -------
    iterator of EncodedBatch
        Consecutive batches in the order of `rows`; ``codes`` has the head's layer.

    Raises
    ------
    SpecMismatchError
        The network is not the one that the head was trained on.
    """
    require_positive("batch_size", batch_size)
    encoder = load_encoder(
        head.spec,
        head.reference,
        [head.layer],
        model=model,
        weights=weights,
        device=device,
        owner="the head",
        next_step="a head reads only codes of its own spec; `bottleneck.fit` makes another",
    )
    size = batch_size or encoder.runner.default_batch_size
    batches = (rows[start : start + size] for start in range(0, len(rows), size))
    return encoder.encode(source, batches)
