"""The file of a classifier: safetensors, with its tensors and JSON metadata."""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from bottleneck.cache import PARSE_ERRORS, is_cache
from bottleneck.data import ViewRecipe
from bottleneck.errors import HeadError, format_error
from bottleneck.fitting.heads.classifier import Classifier
from bottleneck.fitting.loading.features import Features
from bottleneck.linear import Calibration
from bottleneck.model_reference import ModelReference
from bottleneck.runtime import (
    NO_DIGEST,
    atomic_write,
    has_own_digest,
    remove_stale_temp_files_of,
    write_own_digest,
)
from bottleneck.spec import Spec

HEAD_FORMAT = "bottleneck-head"
TAIL_FORMAT = "bottleneck-tail"
_KINDS = {HEAD_FORMAT: "a head", TAIL_FORMAT: "a tuned tail"}
_SUFFIXES_OF_EXPORTS = (".onnx", ".pt", ".skops")

Tensors = dict[str, NDArray[Any]]


def write_classifier(path: Path, tensors: Mapping[str, NDArray[Any]], values: Any) -> None:
    """Write a file whole or not at all.

    Parameters
    ----------
    path : Path
    tensors : mapping of str to ndarray
    values : dict
        What else there is, as plain values.
    """
    contiguous = {name: np.asarray(tensor, order="C") for name, tensor in tensors.items()}
    # The digest comes first, so that no other text of 64 zeros is taken for it.
    text = json.dumps({"sha256": NO_DIGEST, **values})
    content = save(contiguous, metadata={"bottleneck": text})
    # Not safetensors' save_file, whose files only their owner may read.
    with atomic_write(path) as temporary:
        temporary.write_bytes(content)
        write_own_digest(temporary)
    remove_stale_temp_files_of(path)  # of a run that was killed while it wrote


def _read(path: Path, wanted: Callable[[str], bool]) -> tuple[Tensors, Any]:
    """Read the tensors that are wanted by name, and the metadata; no code is executed."""
    if not path.is_file():
        # `evaluate` takes the head first, and `report` the cache.
        found = ", which is a cache" if is_cache(path) else ""
        raise HeadError(
            f"no head at {path}{found}: `bottleneck.fit` makes one, and `bottleneck.tune` a tuned "
            "tail"
        )
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = (file.metadata() or {}).get("bottleneck", "")
            tensors = {name: file.get_tensor(name) for name in filter(wanted, list(file.keys()))}
        values = json.loads(metadata)
    except (SafetensorError, *PARSE_ERRORS) as error:
        if path.suffix.lower() in _SUFFIXES_OF_EXPORTS:
            why = (
                "what `bottleneck.export` writes is for other programs: give the head that was "
                "exported, or to `bottleneck.predict` its export as .onnx"
            )
        else:
            why = "pickles and other files are refused, because reading them could run code"
        raise HeadError(
            f"{path} is not a head: heads and tuned tails are safetensors files that "
            f"`bottleneck.fit` and `bottleneck.tune` wrote; {why}"
        ) from error
    return tensors, values


def classifier_format(path: Path) -> str:
    """Return the format that a file says it has: `HEAD_FORMAT`, `TAIL_FORMAT` or any other text.

    Raises
    ------
    HeadError
        There is no such file, or it is none that `write_classifier` wrote.
    """
    _, values = _read(path, lambda name: False)
    return str(values.get("format")) if isinstance(values, dict) else ""


@contextmanager
def parse_classifier(
    path: Path, name: str, versions: tuple[int, ...], wanted: Callable[[str], bool]
) -> Iterator[tuple[Tensors, dict[str, Any]]]:
    """Read a file of one format, and refuse it in one line where its values cannot be parsed.

    Parameters
    ----------
    path : Path
    name : str
        `HEAD_FORMAT` or `TAIL_FORMAT`.
    versions : tuple of int
        Those that this program reads.
    wanted : callable
        Whether a tensor of that name is read.

    Yields
    ------
    tensors : dict of str to ndarray
    values : dict
        To be parsed in the body of the ``with``.

    Raises
    ------
    HeadError
        There is no such file, it has another format or version, a byte of it has changed, or the
        body could not parse it.
    """
    tensors, values = _read(path, wanted)
    try:
        version = values["format_version"]
        if values["format"] != name or type(version) is not int or version not in versions:
            raise HeadError(
                f"{path} has format {values['format']!r} version {version!r}; this program "
                f"reads {name!r} {' and '.join(map(str, versions))}"
            )
        # Files of earlier versions of this program have no digest.
        if "sha256" in values and not has_own_digest(path, values["sha256"]):
            raise HeadError(
                f"{path} is damaged: its bytes are not those that were written (sha256 differs)"
            )
        yield tensors, values
    except HeadError:
        raise
    except PARSE_ERRORS as error:
        raise HeadError(
            f"{path} is not {_KINDS[name]} of this format: {format_error(error)}"
        ) from error


def common_values(classifier: Classifier) -> dict[str, Any]:
    """Return what the files of all classifiers have, as plain values."""
    features = classifier.features
    return {
        "views": features.views,
        "view_recipe": features.recipe.to_json() if features.recipe else None,
        "classes": classifier.classes,
        "multilabel": classifier.multilabel,
        "spec": classifier.spec.to_json(),
        "source": asdict(classifier.reference),
        "record": classifier.training_record,
    }


def common_fields(values: dict[str, Any], layers: tuple[str, ...]) -> dict[str, Any]:
    """Return the fields of a `Classifier` but its calibration, from the plain values of a file.

    Raises
    ------
    TypeError, KeyError, ValueError, AttributeError
        The values are not those of a classifier.
    """
    recipe = values.get("view_recipe")
    made = None if recipe is None else ViewRecipe.from_json(recipe)
    return {
        "features": Features(layers, values.get("views", 1), made),
        "classes": list(values["classes"]),
        "multilabel": values["multilabel"],
        "spec": Spec.from_json(values["spec"]),
        "reference": ModelReference(**values["source"]),
        "training_record": dict(values["record"]),
    }


def validate_common(path: Path, classifier: Classifier) -> None:
    """Refuse the fields of `common_fields` where they are of other types, or contradict another.

    Raises
    ------
    HeadError
    """
    features = classifier.features
    if not isinstance(classifier.multilabel, bool):
        raise HeadError(f"{path}: multilabel is {classifier.multilabel!r}, must be true or false")
    if not all(isinstance(text, str) for text in (*features.layers, *classifier.classes)):
        raise HeadError(f"{path}: the names of the layers and of the classes must be text")
    if type(features.views) is not int or features.views < 1:
        raise HeadError(f"{path}: views is {features.views!r}, must be above 0")
    if (features.views > 1) != (features.recipe is not None):
        raise HeadError(f"{path}: a recipe is needed for views, and for nothing else")


def require_tensor(
    path: Path, name: str, tensor: NDArray[Any], shape: tuple[int, ...], dtype: Any
) -> None:
    """Refuse a tensor of another type or shape, or with values that are not finite.

    Raises
    ------
    HeadError
    """
    if tensor.dtype != dtype:
        raise HeadError(f"{path} is damaged: {name} is {tensor.dtype}, must be {np.dtype(dtype)}")
    if tensor.shape != shape:
        raise HeadError(f"{path} is damaged: {name} has shape {tensor.shape}, must be {shape}")
    if not np.isfinite(tensor).all():
        raise HeadError(f"{path} is damaged: {name} has values that are not finite")


def softmax_calibration(k: int, *, multilabel: bool) -> Calibration:
    """Return the calibration of logits: they are log-probabilities already.

    Examples
    --------
    >>> softmax_calibration(2, multilabel=False).probabilities(np.array([[0.0, 0.0]]))
    array([[0.5, 0.5]])
    """
    return Calibration(np.ones(k), np.zeros(k), independent=multilabel)
