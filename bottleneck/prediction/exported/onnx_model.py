"""ONNX files run by onnxruntime. This is the only module that imports it."""

import os
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from bottleneck.errors import USER_CODE_EXCEPTIONS, ExportError, InvalidOptionError, format_error
from bottleneck.prediction.exported.metadata import DIGEST_KEY, KEY, ExportMetadata
from bottleneck.runtime import available_cpus, has_own_digest, optional_package


class OnnxModel:
    """An exported classifier with its network, run by onnxruntime without PyTorch.

    Parameters
    ----------
    session : onnxruntime.InferenceSession
    metadata : ExportMetadata

    Attributes
    ----------
    metadata : ExportMetadata
        What the file says of itself.

    Examples
    --------
    >>> model = OnnxModel.load("head.onnx")  # doctest: +SKIP
    >>> model.metadata.labels  # doctest: +SKIP
    ['ants', 'bees']
    """

    def __init__(self, session: Any, metadata: ExportMetadata) -> None:
        self.metadata = metadata
        self._session = session
        self._input = session.get_inputs()[0].name

    @classmethod
    def load(cls, path: Path, *, device: str = "auto") -> Self:
        """Read a file; no code in it is executed.

        Parameters
        ----------
        path : Path
        device : str
            ``"auto"``, ``"cpu"``, ``"cuda"`` or ``"cuda:N"``. A GPU needs onnxruntime's package
            for it.

        Raises
        ------
        ExportError
            There is no such file, it is no export of this program, or a byte of it has changed.
        MissingPackageError
            onnxruntime is not installed.
        InvalidOptionError
            There is no such device.
        """
        if not path.is_file():
            raise ExportError(f"no exported network at {path}: `bottleneck.export` makes one")
        runtime = _import_onnxruntime(path)
        options = runtime.SessionOptions()
        options.intra_op_num_threads = available_cpus()
        options.log_severity_level = 3  # errors alone: warnings are of its optimiser
        providers = _providers(device, runtime.get_available_providers())
        try:
            # Without the bytes in Python: the file may be larger than the memory that is free.
            session = runtime.InferenceSession(str(path), options, providers=providers)
            about = session.get_modelmeta().custom_metadata_map
        except USER_CODE_EXCEPTIONS as error:  # onnxruntime's have no base class of their own
            raise ExportError(f"{path} cannot be read as ONNX: {format_error(error)}") from error
        # Files of earlier versions of this program have no digest.
        if DIGEST_KEY in about and not has_own_digest(path, about[DIGEST_KEY]):
            raise ExportError(
                f"{path} is damaged: its bytes are not those that were written (sha256 differs)"
            )
        return cls(session, ExportMetadata.from_text(about.get(KEY, ""), path=path))

    def run(self, images: NDArray[Any]) -> tuple[NDArray[np.float32], NDArray[Any]]:
        """Return the scores and the labels of a batch.

        Parameters
        ----------
        images : ndarray, shape of `ExportMetadata.shape`

        Returns
        -------
        scores : ndarray of float32, shape (n, k)
        labels : ndarray of int64, shape (n,), or of bool, shape (n, k)
            Index of the class; or which labels an image has.

        Raises
        ------
        ExportError
            onnxruntime cannot run the file.
        """
        try:
            scores, labels = self._session.run(None, {self._input: images})
        except USER_CODE_EXCEPTIONS as error:
            raise ExportError(f"the exported network failed: {format_error(error)}") from error
        k, n = len(self.metadata.labels), len(images)
        several = self.metadata.multilabel
        if scores.shape != (n, k) or labels.shape != ((n, k) if several else (n,)):
            raise ExportError(
                f"the exported network gave scores of shape {scores.shape} and labels of shape "
                f"{labels.shape} for {n} images of {k} classes: export it again"
            )
        if not (several or (labels.min() >= 0 and labels.max() < k)):
            raise ExportError(
                f"the exported network gave the labels {labels.min()} to {labels.max()} of {k} "
                "classes: export it again"
            )
        return scores, labels


def _import_onnxruntime(path: Path) -> Any:
    # Else recent versions report each session to its makers, and keep an identifier in the home
    # directory, or warn that they cannot.
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    with optional_package("onnx", needed_by=path):
        import onnxruntime
    return onnxruntime


def _providers(device: str, available: list[str]) -> list[Any]:
    """Return what onnxruntime shall compute with, the first that can."""
    kind, _, number = device.partition(":")
    cpu, cuda = "CPUExecutionProvider", "CUDAExecutionProvider"
    if device == "cpu" or (device == "auto" and cuda not in available):
        return [cpu]
    if device == "auto" or (kind == "cuda" and cuda in available and (number or "0").isdecimal()):
        return [(cuda, {"device_id": int(number or 0)}), cpu]
    raise InvalidOptionError(
        "device",
        device,
        "auto or cpu" if cuda not in available else "auto, cpu, cuda or cuda:N",
        "" if cuda in available else "onnxruntime is installed without a GPU's",
    )
