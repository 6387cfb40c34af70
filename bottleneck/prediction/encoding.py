"""Encode images with the network and the spec of a head."""

import dataclasses
from collections.abc import Iterator, Sequence

from bottleneck.backbones.backbone import load_backbone
from bottleneck.backbones.trusted_code import require_trusted_code, trust_code
from bottleneck.data.images import ImageSource
from bottleneck.extraction.encoder import Batch, Encoder, make_spec
from bottleneck.fitting.head import Head
from bottleneck.runtime.devices import choose_devices
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
) -> Iterator[Batch]:
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
    iterator of Batch
        Consecutive batches in the order of `rows`; ``codes`` has the head's layer.

    Raises
    ------
    SpecMismatchError
        The network is not the one that the head was trained on.
    """
    require_positive("batch_size", batch_size)
    encoder = _load_encoder(head, model=model, weights=weights, device=device)
    size = batch_size or encoder.runner.default_batch_size
    batches = (rows[start : start + size] for start in range(0, len(rows), size))
    return encoder.encode(source, batches)


def _load_encoder(head: Head, *, model: str | None, weights: str | None, device: str) -> Encoder:
    spec = head.spec
    backbone = load_backbone(
        _trusted_model(model, head),
        weights or head.reference.weights,
        transform=dataclasses.asdict(spec.transform),
    )
    actual = make_spec(backbone, precision=spec.precision, relu=spec.relu, pool=spec.pool)
    head.require(actual, where=f"{backbone.reference.model}, weights {backbone.reference.weights}")
    layers = backbone.select_layers([head.layer])
    return Encoder(backbone, layers, spec, choose_devices(device))


def _trusted_model(model: str | None, head: Head) -> str:
    if model is None:
        return require_trusted_code(head.reference.model, where="the head")
    trust_code(model)
    return model
