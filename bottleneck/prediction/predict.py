"""Predict: a head and its network on new images."""

import dataclasses
import glob
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bottleneck.backbones.backbone import load_backbone
from bottleneck.backbones.trusted_code import require_trusted_code, trust_code
from bottleneck.data.table import open_images
from bottleneck.errors import ImagesNotFoundError
from bottleneck.extraction.encoder import Encoder, make_spec
from bottleneck.fitting.head import Head
from bottleneck.runtime.devices import choose_devices
from bottleneck.runtime.validation import require_positive


@dataclass(frozen=True)
class Prediction:
    """What a head says of one image.

    Attributes
    ----------
    path : Path
    label : str
        The class of the highest score, or for several labels an image those that it has, with
        ``|`` between them; empty where the image gave no codes, or has none of them.
    scores : dict of str to float
        Every class, highest first: probabilities, or margins of a head that is not calibrated.
    reason : str
        Why there is no label; empty where there is one.
    """

    path: Path
    label: str
    scores: dict[str, float]
    reason: str


def predict(
    head: Head,
    images: Sequence[str],
    *,
    model: str | None = None,
    weights: str | None = None,
    device: str = "auto",
    batch_size: int | None = None,
) -> Iterator[Prediction]:
    """Classify new images.

    Parameters
    ----------
    head : Head
    images : sequence of str
        Files, folders (all images below them), or patterns such as ``"new/*.jpg"``.
    model, weights : str, optional
        Where the network is now, if it moved since; it must be the same network.
    device : str
        As in `bottleneck.backbones.runner.choose_devices`.
    batch_size : int, optional
        Images in one forward pass.

    Yields
    ------
    Prediction
        One an image, in the order found.

    Raises
    ------
    ImagesNotFoundError
        A name stands for no image.
    SpecMismatchError
        The network is not the one that the head was trained on.
    """
    paths = [path for name in images for path in expand(name)]
    for path, codes, reason in encode_files(
        head, paths, model=model, weights=weights, device=device, batch_size=batch_size
    ):
        yield Prediction(path, "", {}, reason) if codes is None else _predicted(head, path, codes)


def encode_files(
    head: Head,
    paths: Sequence[Path],
    *,
    model: str | None = None,
    weights: str | None = None,
    device: str = "auto",
    batch_size: int | None = None,
) -> Iterator[tuple[Path, NDArray[np.float32] | None, str]]:
    """The codes that a head reads, of files.

    Yields
    ------
    path : Path
    codes : ndarray of float32, shape (d,), or None
    reason : str
        Why there are none.
    """
    require_positive("batch_size", batch_size)
    encoder = _encoder(head, model=model, weights=weights, device=device)
    size = batch_size or encoder.runner.default_batch_size
    starts = range(0, len(paths), size)
    batches = ([(i, paths[i]) for i in range(s, min(s + size, len(paths)))] for s in starts)
    for batch in encoder.encode(batches):
        codes = batch.codes[head.layer]
        for i, row in enumerate(batch.row.tolist()):
            yield paths[row], codes[i].reshape(-1) if batch.valid[i] else None, batch.reason[i]


def expand(name: str) -> list[Path]:
    """The image files that a name stands for: a file, a folder or a pattern.

    Raises
    ------
    ImagesNotFoundError
        It stands for none.
    """
    path = Path(name)
    if path.exists():
        return _images_at(path)
    matches = sorted(glob.glob(name, recursive=True))  # noqa: PTH207  (Path has no "**/" of its own)
    if not matches:
        raise ImagesNotFoundError(
            f"no image, folder or pattern of images: {name}: quote a pattern, and look at the path"
        )
    return [image for match in matches for image in _images_at(Path(match))]


def _images_at(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    root, table = open_images(path)
    return [root / relative for relative in table.path]


def _encoder(head: Head, *, model: str | None, weights: str | None, device: str) -> Encoder:
    spec = head.spec
    backbone = load_backbone(
        _named(model, head),
        weights or head.source.weights,
        preprocess=dataclasses.asdict(spec.preprocess),
    )
    now = make_spec(backbone, precision=spec.precision, relu=spec.relu, pool=spec.pool)
    head.require(now, where=f"{backbone.source.model} with weights {backbone.source.weights}")
    layers = backbone.select_layers([head.layer])
    return Encoder(backbone, layers, spec, choose_devices(device))


def _named(model: str | None, head: Head) -> str:
    if model is None:
        return require_trusted_code(head.source.model, where="the head")
    trust_code(model)
    return model


def _predicted(head: Head, path: Path, codes: NDArray[np.float32]) -> Prediction:
    margins = head.decision_function(codes[np.newaxis])
    values = head.predict_scores(margins)[0]
    order = np.argsort(-values, kind="stable").tolist()
    scores = {head.classes[k]: float(values[k]) for k in order}
    return Prediction(path, head.predict_labels(margins)[0], scores, "")
