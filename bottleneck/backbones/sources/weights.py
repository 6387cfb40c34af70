"""Weights as users give them: a published name, a member of torchvision's enums, or a file.

This module loads no PyTorch.
"""

import os
from enum import Enum
from pathlib import Path

from bottleneck.errors import InvalidOptionError, UnknownNameError, WeightsError


def weights_name(model: object, weights: str | os.PathLike[str] | Enum) -> str | os.PathLike[str]:
    """Return a name or path of weights; of a member of torchvision's enums its name.

    Parameters
    ----------
    model : object
        The network that they are for, as the user gave it.
    weights : str, PathLike or Enum
        What the user gave, for example ``ResNet50_Weights.DEFAULT``.

    Raises
    ------
    InvalidOptionError
        It is a member of another network's enum.

    Examples
    --------
    >>> from torchvision.models import ResNet50_Weights
    >>> weights_name("resnet50", ResNet50_Weights.IMAGENET1K_V2)
    'IMAGENET1K_V2'
    """
    if isinstance(weights, str | os.PathLike) or not isinstance(weights, Enum):
        return weights
    name = model if isinstance(model, str) else type(model).__name__
    if not isinstance(model, str) or type(weights).__name__.lower() != f"{model}_weights":
        raise InvalidOptionError("weights", str(weights), f"weights of {name}")
    return weights.name


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
