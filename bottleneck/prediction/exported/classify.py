"""Classify images with an exported network, without PyTorch: decode, make views, run, label."""

import os
from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from bottleneck.data import (
    SEPARATOR,
    ImageSource,
    ViewSet,
    decode_views,
    pixel_limit,
)
from bottleneck.errors import ExportError, ImageError, InvalidOptionError, NonFiniteCodesError
from bottleneck.extraction import ComputeOptions
from bottleneck.input_transform import CPU_DECODERS
from bottleneck.prediction.exported.metadata import FLOAT, ExportMetadata
from bottleneck.prediction.prediction import Prediction, ranked_scores
from bottleneck.runtime import available_cpus, read_ahead, sha256

BATCH_SIZE = 16

Pixels = NDArray[np.uint8]


class ExportedNetwork(Protocol):
    """A file that takes images and gives scores and labels."""

    @property
    def metadata(self) -> ExportMetadata:
        """What the file says of itself."""
        ...

    def run(self, images: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
        """Return the scores and the labels of a batch.

        Parameters
        ----------
        images : ndarray, shape of `ExportMetadata.shape`

        Returns
        -------
        scores : ndarray of float32, shape (n, k)
        labels : ndarray of int64, shape (n,), or of bool, shape (n, k)
            Index of the class; or which labels an image has.
        """
        ...


def require_same_views(metadata: ExportMetadata, views: int | None) -> None:
    """Refuse another number of views than the file averages.

    Raises
    ------
    InvalidOptionError
    """
    if views is not None and views != metadata.views:
        raise InvalidOptionError(
            "views",
            views,
            f"{metadata.views}, which the exported file takes of each image",
            "`bottleneck.export` makes a file for others",
        )


def classify_by_export(
    network: ExportedNetwork, source: ImageSource, *, compute: ComputeOptions = ComputeOptions()
) -> Iterator[Prediction]:
    """Classify the images of a source.

    Parameters
    ----------
    network : ExportedNetwork
    source : ImageSource
    compute : ComputeOptions
        Batch size, threads that decode, and pixels.

    Yields
    ------
    Prediction
        One for each image, in the order of the table.

    Raises
    ------
    ExportError
        The file was made for another rule of decoding.
    NonFiniteCodesError
        The network gave NaN or infinity; the message names the image.
    """
    metadata = network.metadata
    if metadata.spec.decoder not in CPU_DECODERS.values():
        raise ExportError(
            f"the file was made for images decoded by {metadata.spec.decoder}, and exported files "
            f"get those decoded by {' or '.join(CPU_DECODERS.values())}: export one of such codes"
        )
    return _classify(network, source, compute)


def _classify(
    network: ExportedNetwork, source: ImageSource, compute: ComputeOptions
) -> Iterator[Prediction]:
    batches = _prepared(source, network.metadata, compute)
    with pixel_limit(compute.max_pixels):
        for rows, prepared in read_ahead(batches):  # decodes while the network runs
            yield from _classify_batch(network, source, rows, prepared)


def _prepared(
    source: ImageSource, metadata: ExportMetadata, compute: ComputeOptions
) -> Generator[tuple[range, list[Pixels | str]], None, None]:
    rows, size = range(len(source.table)), compute.batch_size or BATCH_SIZE
    with ThreadPoolExecutor(compute.workers or available_cpus(), "decode") as decoders:
        for start in range(0, len(rows), size):
            batch = rows[start : start + size]
            yield batch, list(decoders.map(lambda row: _prepare(source, row, metadata), batch))


def _prepare(source: ImageSource, row: int, metadata: ExportMetadata) -> Pixels | str:
    """Return the views of an image, shape (views, side, side, 3), or why it has none."""
    views = ViewSet(range(metadata.views), metadata.view_recipe)
    try:
        data = source.read(row)
        made = decode_views(data, metadata.spec.transform, views, image_sha256=sha256(data))
        return np.stack(list(made))
    except ImageError as error:
        return str(error)


def _classify_batch(
    network: ExportedNetwork, source: ImageSource, rows: range, prepared: list[Pixels | str]
) -> Iterator[Prediction]:
    metadata = network.metadata
    valid = [views for views in prepared if not isinstance(views, str)]
    scores, labels = network.run(_as_input(np.stack(valid), metadata)) if valid else ((), ())
    found = iter(zip(scores, labels, strict=True))
    for row, views in zip(rows, prepared, strict=True):
        path = Path(source.path(row))
        if isinstance(views, str):
            yield Prediction(path, "", {}, views)
            continue
        values, label = next(found)
        if not np.isfinite(values).all():
            raise NonFiniteCodesError(f"the exported network gave NaN or infinity for {path}")
        yield Prediction(path, _name(label, metadata), ranked_scores(metadata.labels, values), "")


def _as_input(images: Pixels, metadata: ExportMetadata) -> NDArray[Any]:
    """Return images of shape (n, views, side, side, 3) as the file takes them."""
    if metadata.views == 1:
        images = images[:, 0]
    if metadata.input == FLOAT:
        return np.ascontiguousarray(np.moveaxis(images, -1, -3), dtype=np.float32) / 255
    return images


def _name(label: NDArray[Any], metadata: ExportMetadata) -> str:
    if not metadata.multilabel:
        return metadata.labels[int(label)]
    named = zip(metadata.labels, label.tolist(), strict=True)
    return SEPARATOR.join(name for name, present in named if present)


def is_export(path: str | os.PathLike[str]) -> bool:
    """Return whether a file is, by its name, one that `predict` runs without PyTorch.

    Examples
    --------
    >>> is_export("head.ONNX"), is_export("head.safetensors")
    (True, False)
    """
    return Path(path).suffix.lower() == ".onnx"
