"""Write a module as TorchScript, and run such a file."""

import io
import warnings
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray

from bottleneck.errors import USER_CODE_EXCEPTIONS, ExportError, format_error
from bottleneck.exporting.module import ExportedModule
from bottleneck.prediction import KEY, ExportMetadata

_FILE = f"{KEY}.json"  # among the extra files of the archive


def write_torchscript(module: ExportedModule, path: Path) -> ExportMetadata:
    """Write a module, its weights and its metadata as one TorchScript file.

    Parameters
    ----------
    module : ExportedModule
    path : Path

    Returns
    -------
    ExportMetadata
        The module's.

    Raises
    ------
    ExportError
        PyTorch cannot trace the network.
    OSError
        The file could not be written.
    """
    file = io.BytesIO()
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")  # that torch.jit.trace is deprecated, and of constants
            traced = torch.jit.trace(module, (module.example(),), check_trace=False)  # type: ignore[no-untyped-call, unused-ignore]
            torch.jit.save(traced, file, _extra_files={_FILE: module.metadata.to_text()})  # type: ignore[no-untyped-call, unused-ignore]
    except USER_CODE_EXCEPTIONS as error:  # any operation of the network may raise its own
        raise ExportError(
            f"PyTorch cannot trace the network as TorchScript: {format_error(error)}"
        ) from error
    # Not by PyTorch, which ends the process where the disk is full.
    path.write_bytes(file.getbuffer())
    return module.metadata


class TorchScriptModel:
    """An exported classifier with its network, run by PyTorch.

    Parameters
    ----------
    module : torch.jit.ScriptModule
    metadata : ExportMetadata

    Attributes
    ----------
    metadata : ExportMetadata
        What the file says of itself.
    """

    def __init__(self, module: Any, metadata: ExportMetadata) -> None:
        self._module, self.metadata = module, metadata

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a file that `write_torchscript` wrote."""
        extra = {_FILE: ""}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that torch.jit.load is deprecated
            module = torch.jit.load(path, map_location="cpu", _extra_files=extra)  # type: ignore[no-untyped-call, unused-ignore]
        return cls(module, ExportMetadata.from_text(extra[_FILE], path=path))

    def run(self, images: NDArray[Any]) -> tuple[NDArray[np.float32], NDArray[Any]]:
        """Return the scores and the labels of a batch, as `OnnxModel.run` does."""
        try:
            with torch.inference_mode():
                scores, labels = self._module(torch.from_numpy(images))
        except USER_CODE_EXCEPTIONS as error:
            raise ExportError(f"the exported network failed: {format_error(error)}") from error
        return scores.numpy(), labels.numpy()
