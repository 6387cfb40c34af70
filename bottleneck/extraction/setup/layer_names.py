"""The layers and poolings of a run as users name them: several, or one by itself."""

from collections.abc import Iterable
from typing import Any

from bottleneck.errors import InvalidOptionError
from bottleneck.pooling import check_pool


def layer_names(layers: str | Iterable[str]) -> list[str]:
    """Return the names of layers as a list.

    Parameters
    ----------
    layers : str or iterable of str

    Raises
    ------
    InvalidOptionError
        There is none, or one is no text, or empty.

    Examples
    --------
    >>> layer_names("layer3"), layer_names(("layer3", "layer4@max"))
    (['layer3'], ['layer3', 'layer4@max'])
    """
    names, hint = _listed(layers), "`bottleneck.layers` lists them"
    for name in names:
        if not (isinstance(name, str) and name):
            raise InvalidOptionError("layers", name, "a name or a list of names", hint)
    if not names:
        raise InvalidOptionError("layers", [], "at least one name", hint)
    return names


def pool_names(pool: str | Iterable[str] | None) -> list[str]:
    """Return poolings as a list, as specs have them; none where that of a cache is meant.

    Parameters
    ----------
    pool : str, iterable of str or None

    Raises
    ------
    InvalidOptionError
        There is no such pooling; or a list of them has none.

    Examples
    --------
    >>> pool_names("2x2"), pool_names(["avg", "max"]), pool_names(None)
    (['2'], ['avg', 'max'], [])
    """
    if pool is None:
        return []
    if not (pools := [check_pool(each) for each in _listed(pool)]):
        raise InvalidOptionError("pool", [], "at least one pooling")
    return pools


def _listed(given: Any) -> list[Any]:
    return [given] if isinstance(given, str) or not isinstance(given, Iterable) else list(given)
