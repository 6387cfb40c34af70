"""Predict: classify new images with a head or a tuned tail, and its network."""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from bottleneck.data import ImageSource
from bottleneck.extraction import ComputeOptions
from bottleneck.fitting import Classifier
from bottleneck.prediction.exported.classify import classify_by_export, require_same_views
from bottleneck.prediction.exported.onnx_model import OnnxModel
from bottleneck.prediction.inputs import open_predictor, open_sources
from bottleneck.prediction.network import network_loader
from bottleneck.prediction.noted import NotedIterator
from bottleneck.prediction.prediction import Prediction, ranked_scores
from bottleneck.runtime import require_left_out, require_options

if TYPE_CHECKING:
    from torch import nn

    from bottleneck.backbones import Backbone
    from bottleneck.prediction.encoding import EncodedImages


def predict(
    head: Classifier | OnnxModel | str | os.PathLike[str],
    images: str | os.PathLike[str] | Iterable[str | os.PathLike[str]] | ImageSource,
    *,
    views: int | None = None,
    model: "str | nn.Module | None" = None,
    weights: str | os.PathLike[str] | None = None,
    compute: ComputeOptions = ComputeOptions(),
) -> NotedIterator[Prediction]:
    """Classify new images.

    The head, the names of the images and the network are checked when this function is called;
    images are read and classified during iteration, one batch at a time. Up to 16 of them, each
    counted once a view, are run by the modules of the network, which is not traced for so few.

    Parameters
    ----------
    head : Head, TunedTail, OnnxModel or path
        A head, a tuned tail, or the file of one; or an ONNX file of `bottleneck.export`, which
        holds the network and is run by onnxruntime, without PyTorch.
    images : path, iterable of paths, or ImageSource
        Files, folders, patterns such as ``"new/*.jpg"``, CSVs with a column ``path``, archives,
        tables and arrays, mixed as needed.
    views : int, optional
        Views of each image whose decision values are averaged, counted from the plain one. By
        default those that the head was trained with; 1 takes one pass of the network an image.
    model : str or nn.Module, optional
        The network, if its file has moved or it was given as an object; it must be the same.
    weights : str or PathLike, optional
        The weights, if their file has moved; they must be the same.
    compute : ComputeOptions
        Device, batch size and threads. The precision is that of the head's spec.

    Returns
    -------
    NotedIterator of Prediction
        One for each image, in the given order. Its ``notes`` say what runs the network, and why.

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
    require_options(compute=(compute, ComputeOptions))
    opened = open_predictor(head, device=compute.device)
    source = open_sources(images)
    if isinstance(opened, OnnxModel):
        require_same_views(opened.metadata, views)
        require_left_out("the network is in the file", model=model, weights=weights)
        if compute.runtime != "auto":
            require_left_out("onnxruntime runs it", runtime=compute.runtime)
        return NotedIterator(classify_by_export(opened, source, compute=compute))
    chosen = opened if views is None else opened.with_views(views)
    network = network_loader(chosen, model=model, weights=weights)
    ready = chosen.with_network(network, compute.device)
    return classify(ready, network(), source, compute=compute)


def classify(
    head: Classifier,
    network: "Backbone",
    source: ImageSource,
    *,
    compute: ComputeOptions = ComputeOptions(),
) -> NotedIterator[Prediction]:
    """Classify the images of a source.

    Parameters
    ----------
    head : Classifier
        With its network, where it needs one for `decision_function`.
    network : Backbone
        The network of its spec.
    source : ImageSource
    compute : ComputeOptions
        Device, batch size, threads and pixels.

    Returns
    -------
    NotedIterator of Prediction
        One for each image, in the order of the table.
    """
    from bottleneck.prediction.encoding import encode_images  # imports torch: not for an export

    rows = range(len(source.table))
    batches = encode_images(head, network, source, rows, compute=compute, few_by_modules=True)
    found = (each for batch in batches for each in _classify_batch(head, source, batch))
    return NotedIterator(found, batches.notes)


def _classify_batch(
    head: Classifier, source: ImageSource, batch: "EncodedImages"
) -> Iterator[Prediction]:
    margins = head.decision_function(batch.codes)
    rows = zip(head.predict_labels(margins), head.predict_scores(margins), strict=True)
    for row, is_valid, reason in zip(
        batch.row.tolist(), batch.valid.tolist(), batch.reason, strict=True
    ):
        path = Path(source.path(row))
        if not is_valid:
            yield Prediction(path, "", {}, reason)
            continue
        label, scores = next(rows)
        yield Prediction(path, label, ranked_scores(head.classes, scores), "")
