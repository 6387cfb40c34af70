"""Shapes of lazy parameters from a weights file."""

from pathlib import Path
from typing import Any

from torch import nn
from torch.nn.parameter import is_lazy

from bottleneck.backbones.sources.weights import is_weights_file, read_weights
from bottleneck.errors import WeightsError


def shape_by_weights(network: nn.Module, weights: str) -> None:
    """Give lazy parameters the shapes that they have in a weights file, in place.

    Parameters
    ----------
    network : nn.Module
        If it has no lazy parameters, or `weights` is no file, it stays as it is.
    weights : str
        A weights file; anything else says nothing of shapes.

    Raises
    ------
    WeightsError
        The file cannot be read, or lacks one of them.

    Examples
    --------
    >>> import tempfile, torch
    >>> network = nn.Sequential(nn.LazyLinear(3))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     torch.save(nn.Sequential(nn.Linear(2, 3)).state_dict(), f"{folder}/w.pth")
    ...     shape_by_weights(network, f"{folder}/w.pth")
    >>> network[0].weight.shape
    torch.Size([3, 2])
    """
    named: list[tuple[str, Any]] = [*network.named_parameters(), *network.named_buffers()]
    lazy = [(name, value) for name, value in named if is_lazy(value)]
    if not lazy or not is_weights_file(weights):
        return
    state = read_weights(Path(weights))
    for name, value in lazy:
        if name not in state:
            raise WeightsError(f"{weights} does not fit: {name!r} is missing in the file")
        value.materialize(state[name].shape)
