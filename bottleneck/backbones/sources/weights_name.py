"""The name of weights that are given as a member of torchvision's enums.

This module loads no PyTorch.
"""

from enum import Enum
from os import PathLike

from bottleneck.errors import InvalidOptionError


def weights_name(model: object, weights: str | PathLike[str] | Enum) -> str | PathLike[str]:
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
    if isinstance(weights, str | PathLike) or not isinstance(weights, Enum):
        return weights
    name = model if isinstance(model, str) else type(model).__name__
    if not isinstance(model, str) or type(weights).__name__.lower() != f"{model}_weights":
        raise InvalidOptionError("weights", str(weights), f"weights of {name}")
    return weights.name
