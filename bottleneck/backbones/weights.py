"""Weights: read them from a file without running code, load them, and digest what was loaded."""

import pickle
import re
import struct
import warnings
import zipfile
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from bottleneck.errors import USER_CODE_ERRORS, WeightsError
from bottleneck.runtime.files import sha256

# What reading raises on bytes that are no state dict, besides refusing them.
_READ_ERRORS = (
    *USER_CODE_ERRORS,
    SafetensorError,
    pickle.UnpicklingError,
    struct.error,
    zipfile.BadZipFile,
)


def digest_weights(network: nn.Module) -> str:
    """SHA-256 over the names, types, shapes and bytes of a network's state dict."""
    parts: list[bytes | memoryview] = []
    for name, tensor in sorted(network.state_dict().items()):
        parts.append(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        values = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
        parts.append(memoryview(values.numpy()))
    return sha256(*parts)


def is_weights_file(weights: str) -> bool:
    """Whether `weights` names a file, and not torchvision's weights."""
    return Path(weights).suffix in (".pth", ".pt", ".bin", ".safetensors") or "/" in weights


def require_weights_file(file: Path) -> None:
    """Refuse a weights file that is not there.

    Raises
    ------
    WeightsError
        Says what `weights` may be.
    """
    if not file.is_file():
        raise WeightsError(
            f"no weights file {file}: `weights` is a .pth or .safetensors file, DEFAULT, none, or "
            "one of torchvision's names"
        )


def load_weights(network: nn.Module, file: Path, *, model: str) -> None:
    """Load a file's weights into a network, every tensor or none.

    Parameters
    ----------
    network : nn.Module
        Built without weights.
    file : Path
        ``.safetensors``, or what `torch.save` wrote of a state dict; no code in it is run.
    model : str
        The network's name, for messages.

    Raises
    ------
    WeightsError
        The file is absent, is not plain weights, or belongs to another network.
    """
    expected = network.state_dict()
    state = {_modern_name(name): value for name, value in _read_state(file).items()}
    problems = [
        *(f"{name!r} is missing in the file" for name in expected if _needed(name, state)),
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
    # load_state_dict asks the metadata for each module's version, and MNASNet refuses without.
    versioned = type(expected)(state)
    versioned._metadata = expected._metadata  # type: ignore[attr-defined]
    network.load_state_dict(versioned, strict=False)


def _needed(name: str, state: dict[str, Tensor]) -> bool:
    # Weights older than PyTorch 0.4.1 do not count batches; in eval mode nothing reads the count.
    return name not in state and not name.endswith("num_batches_tracked")


# torchvision/models/densenet.py, _load_state_dict: published files still have the old names.
_DENSENET_OLD = re.compile(r"^(.*denselayer\d+\.(?:norm|relu|conv))\.([12]\.\w+)$")


def _modern_name(name: str) -> str:
    return _DENSENET_OLD.sub(r"\1\2", name)


def _read_state(file: Path) -> dict[str, Tensor]:
    """The tensors of a weights file, by name; runs no code of the file's."""
    require_weights_file(file)
    try:
        if file.suffix == ".safetensors":
            state: Any = load_file(file)
        else:
            _require_no_bomb(file)
            with warnings.catch_warnings(action="ignore"):  # the refusal below says it all
                state = torch.load(file, map_location="cpu", weights_only=True)
    except _READ_ERRORS as error:
        # PyTorch's own message advises weights_only=False, which would run the file.
        raise WeightsError(
            f"{file} is not a file of plain weights: it must be a state dict written by "
            "torch.save or safetensors; anything else is refused, because reading it could run "
            "code"
        ) from error
    return _unwrapped(state, file)


def _require_no_bomb(file: Path) -> None:
    """Refuse an archive that unpacks to more than it takes; torch.save compresses nothing."""
    if zipfile.is_zipfile(file):
        with zipfile.ZipFile(file) as archive:
            if sum(entry.file_size for entry in archive.infolist()) > file.stat().st_size:
                raise ValueError("it unpacks to more than it takes")


def _unwrapped(state: Any, file: Path) -> dict[str, Tensor]:
    """The state dict itself, where a training script saved it beside other things."""
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
