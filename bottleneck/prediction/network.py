"""The network of a classifier, loaded once and only if it is needed."""

from collections.abc import Callable
from functools import cache
from os import PathLike
from typing import TYPE_CHECKING

from bottleneck.fitting import Classifier
from bottleneck.runtime import importing

if TYPE_CHECKING:
    from torch import nn

    from bottleneck.backbones import Backbone


def network_loader(
    classifier: Classifier, *, model: "str | nn.Module | None", weights: str | PathLike[str] | None
) -> "Callable[[], Backbone]":
    """Return a function that loads the network of a classifier at its first call.

    Parameters
    ----------
    classifier : Classifier
    model : str or nn.Module, optional
        The network, if its file has moved or it was given as an object; it must be the same.
    weights : str or PathLike, optional
        The weights, if their file has moved; they must be the same.

    Returns
    -------
    callable
        It returns the same network at each call. It raises `UntrustedCodeError` if the network is
        code that the user has never given, and `SpecMismatchError` if it is another one.
    """

    @cache
    def load() -> "Backbone":
        with importing():  # of torch: not for a head on a cache
            from bottleneck.extraction import load_network

        return load_network(
            classifier.spec,
            classifier.reference,
            model=model,
            weights=weights,
            owner=classifier.owner,
            next_step=classifier.next_step,
        )

    return load
