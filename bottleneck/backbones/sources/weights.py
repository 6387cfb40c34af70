"""Weights: what a name or file of them may be, and the digest of those that a network has."""

import os
from collections.abc import Collection
from pathlib import Path

import torch
from torch import Tensor, nn

from bottleneck.backbones.sources.architecture import describe_value, tensor_bytes
from bottleneck.errors import BackboneError, InvalidOptionError, UnknownNameError, WeightsError
from bottleneck.runtime import sha256


def digest_weights(network: nn.Module, left_out: Collection[str] = ()) -> str:
    """Return the SHA-256 over the names, types, shapes and bytes of a network's state dict.

    What is no plain tensor, such as a quantised weight or `get_extra_state`, counts by its values.

    Parameters
    ----------
    network : nn.Module
    left_out : collection of str
        Names of tensors that decide no code: those that a weights file did not fill.

    Examples
    --------
    >>> digest_weights(nn.Flatten())[:12]  # no weights: the digest of nothing
    'e3b0c44298fc'
    """
    parts: list[bytes | memoryview] = []
    for name, tensor in sorted(network.state_dict().items()):
        if name in left_out:
            continue
        if (
            not isinstance(tensor, Tensor)
            or tensor.is_quantized
            or tensor.layout is not torch.strided
        ):
            parts.append(f"{name} {describe_value(tensor)}\n".encode())
            continue
        parts.append(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        parts.append(tensor_bytes(tensor))
    return sha256(*parts)


def is_weights_file(weights: str | os.PathLike[str]) -> bool:
    """Return whether `weights` names a file, rather than published weights.

    A file that exists is one, whatever its name. Else a suffix or a separator tells.

    Raises
    ------
    InvalidOptionError
        It is neither a name nor a path.

    Examples
    --------
    >>> is_weights_file("resnet50.pth"), is_weights_file("IMAGENET1K_V2")
    (True, False)
    """
    if not isinstance(weights, str | os.PathLike):
        hint = "a network that is given as an object has its weights already"
        raise InvalidOptionError(
            "weights",
            weights if weights is None else type(weights).__name__,  # not the tensors of a dict
            "DEFAULT, none, a name of torchvision's, or a file",
            hint,
        )
    is_file = os.path.isfile(weights)  # noqa: PTH113  (Path's raises on a name that is too long)
    name = os.fspath(weights)
    return is_file or "/" in name or os.sep in name or bool(Path(weights).suffix)


def require_weights_file(file: Path) -> None:
    """Check that a weights file exists.

    Raises
    ------
    WeightsError
        It does not; says what `weights` may be.
    """
    if file.is_dir():
        raise WeightsError(f"{file} is a folder: name the weights file in it as `weights`")
    if not file.is_file():
        raise WeightsError(
            f"no weights file {file}: `weights` is a file of weights, DEFAULT, none, or one of "
            "torchvision's names"
        )


def require_own_weights(weights: str, *, model: str) -> None:
    """Check the weights of a network that has no published ones.

    Parameters
    ----------
    weights : str
        A weights file, or ``"DEFAULT"`` or ``"none"``, which both leave the network as it is.
    model : str
        The network's name, for messages.

    Raises
    ------
    UnknownNameError
        `weights` is something else.

    Examples
    --------
    >>> require_own_weights("none", model="mine")
    """
    if not is_weights_file(weights) and weights not in ("DEFAULT", "none"):
        raise UnknownNameError("weights", weights, ["DEFAULT", "none"], "(or a file)", of=model)


def require_values(network: nn.Module) -> None:
    """Refuse a network of which parameters are on the meta device, and have no values.

    Raises
    ------
    BackboneError
        Names the first of them.

    Examples
    --------
    >>> require_values(nn.Linear(2, 2, device="meta"))
    Traceback (most recent call last):
    bottleneck.errors.BackboneError: 'weight' is on the meta device, and has no values: ...
    """
    for name, value in network.state_dict(keep_vars=True).items():
        if isinstance(value, Tensor) and value.is_meta:
            raise BackboneError(
                f"{name!r} is on the meta device, and has no values",
                hint="build the network on the CPU, and name the file of its weights in `weights`",
            )
