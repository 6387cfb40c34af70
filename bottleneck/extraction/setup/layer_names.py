"""The layers of a run as users name them: several, or one by itself."""

from collections.abc import Iterable

from bottleneck.errors import InvalidOptionError


def layer_names(layers: str | Iterable[str]) -> list[str]:
    """Return the names of layers as a list.

    Parameters
    ----------
    layers : str or iterable of str

    Raises
    ------
    InvalidOptionError
        There is none, or one is no text.

    Examples
    --------
    >>> layer_names("layer3"), layer_names(("layer3", "layer4"))
    (['layer3'], ['layer3', 'layer4'])
    """
    hint = "`bottleneck.layers` lists them"
    names = [layers] if isinstance(layers, str) else list(layers)
    if not all(isinstance(name, str) for name in names):
        raise InvalidOptionError("layers", layers, "a name or a list of names", hint)
    if not names:
        raise InvalidOptionError("layers", [], "at least one name", hint)
    return names
