"""Export: write a classifier with its network as one file for other programs, and check it."""

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bottleneck.data import ImageSource
from bottleneck.errors import ExportError, InvalidOptionError
from bottleneck.exporting.check_images import GeneratedImages
from bottleneck.exporting.export_result import ExportResult
from bottleneck.fitting import Classifier, Head
from bottleneck.prediction import (
    INPUTS,
    UINT8,
    ExportedNetwork,
    ExportMetadata,
    OnnxModel,
    Prediction,
    classify_by_export,
    network_loader,
    open_head,
    open_sources,
)
from bottleneck.runtime import (
    atomic_write,
    choose_device,
    native_precision,
    remove_stale_temp_files_of,
    require_left_out,
    require_one_of,
    require_writable_output,
)

if TYPE_CHECKING:
    from torch import nn

    from bottleneck.backbones import Backbone

FORMATS = {".onnx": "ONNX", ".pt": "TorchScript", ".skops": "scikit-learn"}


def export(
    head: Classifier | str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    input_type: str = UINT8,
    views: int = 1,
    check: str | os.PathLike[str] | Sequence[str | os.PathLike[str]] | ImageSource | None = None,
    model: "str | nn.Module | None" = None,
    weights: str | os.PathLike[str] | None = None,
    overwrite: bool = False,
) -> ExportResult:
    """Write a head or a tuned tail for other programs: one file, checked before it gets its name.

    ONNX and TorchScript hold everything behind the resizing of an image: normalisation, network,
    pooling, scaling, classifier, calibration. They compute in float32. scikit-learn's file holds
    the head alone, which takes codes.

    Parameters
    ----------
    head : Head, TunedTail or path
    out : path
        Its suffix is the format: ``.onnx``, ``.pt`` (TorchScript) or ``.skops`` (scikit-learn).
    input_type : str
        ``"uint8"``: images of shape (n, height, width, 3), of 0…255. ``"float"``: of shape
        (n, 3, height, width), of 0…1. Both in the size of the spec.
    views : int
        Views of each image that the file takes, as a second axis, and averages.
    check : path, sequence of paths, or ImageSource, optional
        Images to compare the file with `bottleneck.predict` on; generated ones unless given.
    model : str or nn.Module, optional
        The network, if its file has moved or it was given as an object; it must be the same.
    weights : str or PathLike, optional
        The weights, if their file has moved; they must be the same.
    overwrite : bool
        Whether an existing file may be replaced.

    Returns
    -------
    ExportResult

    Raises
    ------
    InvalidOptionError
        A value is not allowed, or has no meaning for the format.
    OutputExistsError
        The file exists.
    ExportError
        The classifier has no such form, or the file gives other scores. Nothing was written then.
    MissingPackageError
        A package that writes the format is not installed.
    BackboneError
        The network cannot be traced as a program.

    Examples
    --------
    >>> print(export("head-svm-layer3.safetensors", "ants.onnx"))  # doctest: +SKIP
    ONNX ants.onnx: 34.1 MB, opset 20
    uint8, batch × 224 × 224 × 3 → probabilities, which differ by at most 2.4e-07 on 8 generated
    images
    """
    path = Path(out)
    suffix = path.suffix.lower()
    if suffix not in FORMATS:
        allowed = ", ".join(f"{end} ({name})" for end, name in FORMATS.items())
        raise InvalidOptionError("out", str(path), f"a name that ends in one of {allowed}")
    require_one_of("input_type", input_type, INPUTS)
    trained = open_head(head)
    chosen = trained.with_views(views)
    require_writable_output(path, overwrite=overwrite)
    if suffix == ".skops":
        of_networks = {"views": views if views > 1 else None, "check": check}
        of_networks["input_type"] = None if input_type == UINT8 else input_type
        return _export_head(trained, path, of_networks | {"model": model, "weights": weights})
    _require_decoder(chosen)
    # Opened before the network is loaded, so that errors in the images are raised at once.
    source = None if check is None else open_sources(check)
    load = network_loader(chosen, model=model, weights=weights)
    ready = chosen.with_network(load, "cpu")
    result = _export_network(ready, load(), path, input_type=input_type, source=source)
    return dataclasses.replace(result, notes=result.notes + _views_note(trained, chosen))


def _require_decoder(classifier: Classifier) -> None:
    """Refuse a classifier for images that a GPU decodes: a file gets them from other programs."""
    if classifier.spec.transform.decodes_on_gpu:
        raise ExportError(
            f"{classifier.owner} is for images that a GPU decodes, and a file with a network gets "
            "images that a CPU has decoded",
            hint="extract with `decoder=exact` into another cache, and fit again",
        )


def _export_network(
    classifier: Classifier,
    network: "Backbone",
    path: Path,
    *,
    input_type: str,
    source: ImageSource | None,
) -> ExportResult:
    """Write a classifier with its network, and compare the file with `predict`."""
    # These import torch.
    from bottleneck.exporting.check import CHECKED, predict_in, require_agreement
    from bottleneck.exporting.module import ExportedModule
    from bottleneck.exporting.onnx_file import write_onnx
    from bottleneck.exporting.torchscript_file import TorchScriptModel, write_torchscript

    module = ExportedModule(classifier, network, ExportMetadata.of(classifier, input_type))
    images = source or GeneratedImages(classifier.spec.transform)
    suffix = path.suffix.lower()
    write, load, runtime = (
        (write_onnx, OnnxModel.load, "onnxruntime")
        if suffix == ".onnx"
        else (write_torchscript, TorchScriptModel.load, "PyTorch")
    )
    with atomic_write(path) as temporary:
        metadata = write(module, temporary)
        # Read back from the file, as its users will read it.
        written: ExportedNetwork = load(temporary)
        expected = predict_in("float32", classifier, network, images)
        found = list(classify_by_export(written, images, compute=CHECKED))
        compared, difference = require_agreement(classifier, expected, found, runtime=runtime)
        size = temporary.stat().st_size
        notes = _rounding(classifier, network, images, expected)
    remove_stale_temp_files_of(path)  # of a run that was killed while it wrote
    return ExportResult(
        path=path,
        format=FORMATS[suffix],
        size=size,
        difference=difference,
        checked=f"{compared} {'generated ' * (source is None)}images",
        scores=metadata.scores,
        metadata=metadata,
        notes=notes,
    )


def _rounding(
    classifier: Classifier,
    network: "Backbone",
    images: ImageSource,
    in_float32: Sequence[Prediction],
) -> tuple[str, ...]:
    """Say how far `predict` itself is from float32, where it computes in another precision."""
    from bottleneck.exporting.check import CHECKED, largest_difference, predict_in

    precision = native_precision(classifier.spec.precision, choose_device(CHECKED.device))
    if precision == "float32":
        return ()
    rounded = predict_in(precision, classifier, network, images)
    return (
        f"the file computes in float32, and `bottleneck.predict` in {precision}, as in training: "
        f"that changes scores by up to {largest_difference(in_float32, rounded):.2g}",
    )


def _views_note(trained: Classifier, chosen: Classifier) -> tuple[str, ...]:
    """Say which views an exported network takes, where there are several."""
    views, recipe = trained.features.views, chosen.features.recipe
    if recipe is not None:
        return (
            f"it takes {chosen.features.views} views of each image and averages them; they are "
            f"made from the image's bytes: {recipe}",
        )
    if views == 1:
        return ()
    return (
        f"it takes the plain image alone; the head averages {views} views, as does a file made "
        f"with `views={views}`",
    )


def _export_head(head: Classifier, path: Path, of_networks: dict[str, Any]) -> ExportResult:
    """Write a head alone, as a pipeline of scikit-learn."""
    if not isinstance(head, Head):
        raise ExportError(
            "a tuned tail is layers of a network, which scikit-learn has not: name a file that "
            "ends in .onnx or .pt"
        )
    require_left_out("a file for scikit-learn takes codes, and has no network", **of_networks)
    from bottleneck.exporting.sklearn_pipeline import has_probabilities, write_skops

    with atomic_write(path) as temporary:
        difference = write_skops(head, temporary)
        size = temporary.stat().st_size
    remove_stale_temp_files_of(path)
    probable = has_probabilities(head)
    uncalibrated = () if probable or head.calibration is None else (_UNCALIBRATED,)
    return ExportResult(
        path=path,
        format=FORMATS[".skops"],
        size=size,
        difference=difference,
        checked="generated codes",
        scores="probabilities" if probable else "margins",
        metadata=None,
        notes=uncalibrated,
    )


_UNCALIBRATED = (
    "without the calibration: scikit-learn's linear classifiers have one value for a label and its "
    "probability, and this head labels by its margins"
)
