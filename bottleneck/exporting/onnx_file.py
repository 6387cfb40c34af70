"""Write a module as ONNX, by PyTorch's exporter. This module alone imports onnx and onnxscript."""

import dataclasses
import warnings
from pathlib import Path

import torch

from bottleneck.errors import USER_CODE_EXCEPTIONS, ExportError, format_error
from bottleneck.exporting.module import ExportedModule
from bottleneck.prediction import DIGEST_KEY, KEY, ExportMetadata
from bottleneck.runtime import NO_DIGEST, format_size, optional_package, write_own_digest

_MOST_BYTES = 2 << 30  # of a protocol buffer


def write_onnx(module: ExportedModule, path: Path) -> ExportMetadata:
    """Write a module, its weights and its metadata as one ONNX file.

    Parameters
    ----------
    module : ExportedModule
    path : Path

    Returns
    -------
    ExportMetadata
        The module's, with the version of ONNX's operators.

    Raises
    ------
    MissingPackageError
        onnx or onnxscript is not installed.
    ExportError
        The weights are larger than such a file may be, or an operation of the network does not
        exist in ONNX.
    OSError
        The file could not be written.
    """
    with optional_package("onnx", needed_by="an ONNX file"):
        import onnx  # noqa: F401
        import onnxscript  # noqa: F401
    if module.size >= _MOST_BYTES:
        raise ExportError(
            f"the network has {format_size(module.size)} of weights, and an ONNX file holds less "
            "than 2 GiB: a name that ends in .pt makes TorchScript"
        )
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")  # of PyTorch, about itself
            program = torch.onnx.export(
                module,
                (module.example(),),
                dynamo=True,
                verbose=False,
                input_names=["images"],
                output_names=[module.metadata.scores, "labels"],
                dynamic_shapes=({0: torch.export.Dim("batch")},),
            )
    except USER_CODE_EXCEPTIONS as error:  # any operation of the network may raise its own
        reason = format_error(error.__cause__ or error)
        raise ExportError(
            f"PyTorch cannot export the network as ONNX: {reason}",
            hint="a name that ends in .pt makes TorchScript",
        ) from error
    assert program is not None
    metadata = dataclasses.replace(module.metadata, opset=program.model.opset_imports[""])
    program.model.metadata_props.update({DIGEST_KEY: NO_DIGEST, KEY: metadata.to_text()})
    program.save(path, external_data=False)
    write_own_digest(path)
    return metadata
