"""The layers and poolings of a run as users name them: several, or one by itself."""

from collections.abc import Iterable
from typing import Any

from bottleneck.errors import InvalidOptionError
from bottleneck.pooling import check_pool, name_poolings


def layer_names(layers: str | Iterable[str], pool: str | Iterable[str]) -> tuple[list[str], str]:
    """Return the names of layers in all poolings, and the pooling of the plain names.

    Parameters
    ----------
    layers : str or iterable of str
    pool : str or iterable of str
        The layers are pooled in each of them. The first is that of the plain names.

    Raises
    ------
    InvalidOptionError
        There is no layer or no pooling, one is no text, or there is no such pooling.

    Examples
    --------
    >>> layer_names("layer3", "2"), layer_names(["layer3", "layer4@max"], ["avg", "2"])
    ((['layer3'], '2'), (['layer3', 'layer3@2x2', 'layer4@max'], 'avg'))
    """
    names, pools = _listed(layers), _listed(pool)
    hint = "`bottleneck.layers` lists them"
    if not all(isinstance(name, str) for name in names):
        raise InvalidOptionError("layers", layers, "a name or a list of names", hint)
    if not names:
        raise InvalidOptionError("layers", [], "at least one name", hint)
    if not pools:
        raise InvalidOptionError("pool", [], "at least one pooling")
    checked = [check_pool(each) for each in pools]
    return name_poolings(names, checked), checked[0]


def _listed(given: Any) -> list[Any]:
    return [given] if isinstance(given, str) or not isinstance(given, Iterable) else list(given)
