"""Weights files: read them without running code, load them into a network, and digest them."""

import pickle
import re
import struct
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from bottleneck.backbones.sources.architecture import describe_value
from bottleneck.errors import USER_CODE_ERRORS, UnknownNameError, WeightsError
from bottleneck.runtime import sha256

# What reading raises on bytes that are no state dict, besides refusing them.
_READ_ERRORS = (
    *USER_CODE_ERRORS,
    SafetensorError,
    pickle.UnpicklingError,
    struct.error,
    zipfile.BadZipFile,
)


def digest_weights(network: nn.Module) -> str:
    """Return the SHA-256 over the names, types, shapes and bytes of a network's state dict.

    What is no plain tensor, such as a quantised weight or `get_extra_state`, counts by its values.

    Examples
    --------
    >>> from torch import nn
    >>> digest_weights(nn.Flatten())[:12]  # no weights: the digest of nothing
    'e3b0c44298fc'
    """
    parts: list[bytes | memoryview] = []
    for name, tensor in sorted(network.state_dict().items()):
        if not isinstance(tensor, Tensor) or tensor.is_quantized:
            parts.append(f"{name} {describe_value(tensor)}\n".encode())
            continue
        parts.append(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        values: Any = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
        parts.append(memoryview(values.numpy()))
    return sha256(*parts)


def is_weights_file(weights: str) -> bool:
    """Return whether `weights` names a file, rather than published weights.

    Examples
    --------
    >>> is_weights_file("resnet50.pth"), is_weights_file("IMAGENET1K_V2")
    (True, False)
    """
    return Path(weights).suffix in (".pth", ".pt", ".bin", ".safetensors") or "/" in weights


def require_weights_file(file: Path) -> None:
    """Check that a weights file exists.

    Raises
    ------
    WeightsError
        It does not; says what `weights` may be.
    """
    if not file.is_file():
        raise WeightsError(
            f"no weights file {file}: `weights` is a .pth or .safetensors file, DEFAULT, none, or "
            "one of torchvision's names"
        )


def load_own_weights(network: nn.Module, weights: str, *, model: str) -> None:
    """Load a weights file into a network that has no published weights.

    Parameters
    ----------
    network : nn.Module
        As its author builds it.
    weights : str
        A weights file, or ``"DEFAULT"`` or ``"none"``, which leave the network as it is.
    model : str
        The network's name, for messages.

    Raises
    ------
    UnknownNameError
        `weights` is something else.
    WeightsError
        The file is absent, is not plain weights, or belongs to another network.

    Examples
    --------
    >>> network = nn.Linear(2, 2)
    >>> load_own_weights(network, "none", model="mine")  # stays as it is
    """
    if is_weights_file(weights):
        load_weights(network, read_weights(Path(weights)), file=Path(weights), model=model)
    elif weights not in ("DEFAULT", "none"):
        raise UnknownNameError(f"weights of {model}", weights, ["DEFAULT", "none"], "(or a file)")


def load_weights(
    network: nn.Module, state: Mapping[str, Tensor], *, file: Path, model: str
) -> None:
    """Load a state dict into a network, every tensor or none.

    Parameters
    ----------
    network : nn.Module
        Built without weights.
    state : mapping of str to Tensor
        From `read_weights`.
    file : Path
        Where the state dict was read, for messages.
    model : str
        The network's name, for messages.

    Raises
    ------
    WeightsError
        The weights belong to another network.
    """
    expected = network.state_dict()
    problems = [
        *(f"{name!r} is missing in the file" for name in expected if _is_missing(name, state)),
        *(f"the network has no {name!r}" for name in state if name not in expected),
        *(
            f"{name!r} is {tuple(state[name].shape)} in the file and {tuple(value.shape)} in the "
            "network"
            for name, value in expected.items()
            if name in state and state[name].shape != value.shape
        ),
    ]
    if problems:
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        raise WeightsError(
            f"{file} does not fit {model}: {problems[0]}{more}; name the model that these "
            "weights belong to, or give `model=file.py:factory` that builds it"
        )
    # load_state_dict reads each module's version from the metadata; MNASNet requires it.
    versioned = type(expected)(state)
    versioned._metadata = expected._metadata  # type: ignore[attr-defined]
    network.load_state_dict(versioned, strict=False)


def _is_missing(name: str, state: Mapping[str, Tensor]) -> bool:
    # Weights older than PyTorch 0.4.1 do not count batches; in eval mode nothing reads the count.
    return name not in state and not name.endswith("num_batches_tracked")


# torchvision/models/densenet.py, _load_state_dict: published files still have the old names.
_DENSENET_OLD = re.compile(r"^(.*denselayer\d+\.(?:norm|relu|conv))\.([12]\.\w+)$")


def _modern_name(name: str) -> str:
    return _DENSENET_OLD.sub(r"\1\2", name)


def read_weights(file: Path) -> dict[str, Tensor]:
    """Read the tensors of a weights file, without running code that it may contain.

    Parameters
    ----------
    file : Path
        ``.safetensors``, or a state dict written by ``torch.save``, bare or under one of the usual
        keys of a checkpoint.

    Returns
    -------
    dict of str to Tensor
        Names as in the current version of torchvision.

    Raises
    ------
    WeightsError
        The file is absent or is not plain weights.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     torch.save(nn.Linear(3, 2).state_dict(), Path(folder) / "weights.pth")
    ...     state = read_weights(Path(folder) / "weights.pth")
    >>> {name: tuple(value.shape) for name, value in state.items()}
    {'weight': (2, 3), 'bias': (2,)}
    """
    require_weights_file(file)
    try:
        if file.suffix == ".safetensors":
            state: Any = load_file(file)
        else:
            _refuse_bomb(file)
            with warnings.catch_warnings(action="ignore"):  # the error below says it all
                state = torch.load(file, map_location="cpu", weights_only=True)
    except _READ_ERRORS as error:
        # PyTorch's own message advises weights_only=False, which would run the file.
        raise WeightsError(
            f"{file} is not a file of plain weights: it must be a state dict written by "
            "torch.save or safetensors; anything else is refused, because reading it could run "
            "code"
        ) from error
    return {_modern_name(name): value for name, value in _unwrap(state, file).items()}


def _refuse_bomb(file: Path) -> None:
    """Refuse an archive that unpacks to more than it takes; torch.save compresses nothing."""
    if zipfile.is_zipfile(file):
        with zipfile.ZipFile(file) as archive:
            if sum(entry.file_size for entry in archive.infolist()) > file.stat().st_size:
                raise ValueError("it unpacks to more than it takes")


def _unwrap(state: Any, file: Path) -> dict[str, Tensor]:
    """Return the state dict itself, if a training script saved it beside other things."""
    for key in ("state_dict", "model_state_dict", "model"):
        if isinstance(state, dict) and isinstance(state.get(key), dict):
            state = state[key]
    if not isinstance(state, dict) or not all(
        isinstance(name, str) and isinstance(value, Tensor) for name, value in state.items()
    ):
        raise WeightsError(f"{file} holds no state dict (a dictionary of names and tensors)")
    prefix = "module."  # torch.nn.DataParallel's
    if state and all(name.startswith(prefix) for name in state):
        return {name.removeprefix(prefix): value for name, value in state.items()}
    return state
