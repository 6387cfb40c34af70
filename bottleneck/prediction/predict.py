"""Predict: classify new images with a head and its network."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bottleneck.data.sources.files import FileSource
from bottleneck.fitting.head import Head
from bottleneck.prediction.encoding import encode_images
from bottleneck.prediction.inputs import expand_paths, open_head


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
    head: Head | str | os.PathLike[str],
    images: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    *,
    model: str | None = None,
    weights: str | None = None,
    device: str = "auto",
    batch_size: int | None = None,
) -> Iterator[Prediction]:
    """Classify new images.

    The head, the names of the images and the network are checked when this function is called;
    images are read and classified during iteration, one batch at a time.

    Parameters
    ----------
    head : Head or path
        A head, or the file of one.
    images : path or sequence of paths
        Files, folders, patterns such as ``"new/*.jpg"`` and CSVs with a column ``path``, mixed as
        needed.
    model, weights : str, optional
        The network's present location, if it moved; it must be the same network.
    device : str
        As in `bottleneck.runtime.devices.choose_devices`.
    batch_size : int, optional
        Images in one forward pass; chosen for the device unless given.

    Returns
    -------
    iterator of Prediction
        One for each image, in the given order.

    Raises
    ------
    HeadError
        The file is not a head.
    ImagesNotFoundError
        A name matches no image.
    SpecMismatchError
        The network is not the one that the head was trained on.

    Examples
    --------
    >>> for prediction in predict("head-svm-layer3.safetensors", "new/*.jpg"):  # doctest: +SKIP
    ...     print(prediction.path, prediction.label)
    new/a.jpg cat
    new/b.jpg dog
    """
    head = open_head(head)
    names = [images] if isinstance(images, str | os.PathLike) else images
    paths = [path for name in names for path in expand_paths(name)]
    batches = encode_images(
        head,
        FileSource.from_paths(paths),
        range(len(paths)),
        model=model,
        weights=weights,
        device=device,
        batch_size=batch_size,
    )
    return (
        prediction
        for batch in batches
        for prediction in _classify(
            head,
            [paths[row] for row in batch.row.tolist()],
            batch.codes[head.layer],
            batch.valid,
            batch.reason,
        )
    )


def _classify(
    head: Head,
    paths: list[Path],
    codes: NDArray[np.float32],
    valid: NDArray[np.bool_],
    reasons: list[str],
) -> Iterator[Prediction]:
    codes = codes.reshape(len(codes), -1)[valid]
    margins = head.decision_function(codes)
    scores = head.predict_scores(margins)
    order = np.argsort(-scores, axis=1, kind="stable")
    rows = zip(head.predict_labels(margins), scores.tolist(), order.tolist(), strict=True)
    for path, reason, is_valid in zip(paths, reasons, valid.tolist(), strict=True):
        if not is_valid:
            yield Prediction(path, "", {}, reason)
            continue
        label, values, ranking = next(rows)
        yield Prediction(path, label, {head.classes[k]: values[k] for k in ranking}, "")
