"""Weights as users give them: a published name, a member of torchvision's enums, or a file.

This module loads no PyTorch.
"""

import os
from enum import Enum
from pathlib import Path

from bottleneck.errors import InvalidOptionError, UnknownNameError, WeightsError


def weights_name(model: object, weights: str | os.PathLike[str] | Enum) -> str:
    """Return the name or path of weights as text; of a member of torchvision's enums its name.

    Parameters
    ----------
    model : object
        The network that they are for, as the user gave it.
    weights : str, PathLike or Enum
        What the user gave, for example ``ResNet50_Weights.DEFAULT``.

    Raises
    ------
    InvalidOptionError
        It is a member of another network's enum, or neither a name nor a path.

    Examples
    --------
    >>> from torchvision.models import ResNet50_Weights
    >>> weights_name("resnet50", ResNet50_Weights.IMAGENET1K_V2)
    'IMAGENET1K_V2'
    """
    if isinstance(weights, str | os.PathLike):
        return os.fspath(weights)
    if not isinstance(weights, Enum):
        raise InvalidOptionError(
            "weights",
            weights if weights is None else type(weights).__name__,  # not the tensors of a dict
            "DEFAULT, none, a name of torchvision's, or a file",
            "a network that is given as an object has its weights already",
        )
    name = model if isinstance(model, str) else type(model).__name__
    if not isinstance(model, str) or type(weights).__name__.lower() != f"{model}_weights":
        raise InvalidOptionError("weights", str(weights), f"weights of {name}")
    return weights.name


def is_weights_file(weights: str) -> bool:
    """Return whether `weights` names a file, rather than published weights.

    A file that exists is one, whatever its name. Else a suffix or a separator tells.

    Examples
    --------
    >>> is_weights_file("resnet50.pth"), is_weights_file("IMAGENET1K_V2")
    (True, False)
    """
    is_file = os.path.isfile(weights)  # noqa: PTH113  (Path's raises on a name that is too long)
    return is_file or "/" in weights or os.sep in weights or bool(Path(weights).suffix)


def require_weights_file(weights: str) -> Path | None:
    """Return the weights file that is named, which must exist; None for published weights.

    Raises
    ------
    WeightsError
        It does not; says what `weights` may be.

    Examples
    --------
    >>> require_weights_file("DEFAULT") is None
    True
    """
    if not is_weights_file(weights):
        return None
    file = Path(weights)
    if file.is_dir():
        raise WeightsError(f"{file} is a folder: name the weights file in it as `weights`")
    if not file.is_file():
        raise WeightsError(
            f"no weights file {file}: `weights` is a file of weights, DEFAULT, none, or one of "
            "torchvision's names"
        )
    return file


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
