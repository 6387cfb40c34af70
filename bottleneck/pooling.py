"""Poolings by their names, and the names of layers with a pooling of their own.

``layer3`` is pooled as its cache's spec says, ``layer3@max`` and ``layer3@2x2`` otherwise. A layer
of a network in two poolings is two layers of a cache.
"""

import re

from bottleneck.errors import InvalidOptionError

DEFAULT_POOL = "avg"
POOLINGS = ("avg", "max", "none", "cls")  # beside the sides of grids
_ALLOWED = f"{', '.join(POOLINGS)}, or a whole number K for a K × K grid, as 2 or 2x2"
_GRID = re.compile(r"([1-9][0-9]*)(?:x\1)?")
_OWN = re.compile(rf"(?P<layer>.+)@(?P<pool>{'|'.join(POOLINGS)}|([1-9][0-9]*)(?:x\3)?)")


def check_pool(pool: str) -> str:
    """Return a pooling as a spec has it: ``avg``, ``max``, ``none``, ``cls`` or a grid's side.

    Raises
    ------
    InvalidOptionError
        It is none of these, and no grid such as ``2x2``.

    Examples
    --------
    >>> check_pool("max"), check_pool("2"), check_pool("2x2")
    ('max', '2', '2')
    """
    if not isinstance(pool, str):
        raise InvalidOptionError("pool", pool, f"text: {_ALLOWED}", "a grid is '2', with quotes")
    if pool in POOLINGS:
        return pool
    if grid := _GRID.fullmatch(pool):
        return grid[1]
    raise InvalidOptionError("pool", pool, _ALLOWED)


def pooled_name(layer: str, pool: str) -> str:
    """Return the name of a layer with a pooling of its own.

    Examples
    --------
    >>> pooled_name("layer3", "2"), pooled_name("layer3", "max")
    ('layer3@2x2', 'layer3@max')
    """
    return f"{layer}@{pool if pool in POOLINGS else f'{pool}x{pool}'}"


def split_pooled_name(name: str) -> tuple[str, str | None]:
    """Return a layer's name in the network, and the pooling of its own; None if it has none.

    Examples
    --------
    >>> split_pooled_name("layer3@2x2"), split_pooled_name("layer3")
    (('layer3', '2'), ('layer3', None))
    """
    own = _OWN.fullmatch(name)
    return (own["layer"], check_pool(own["pool"])) if own else (name, None)


def canonical_name(name: str, pool: str) -> str:
    """Return a layer's name as a cache has it whose spec has that pooling.

    Examples
    --------
    >>> canonical_name("layer3@2", "avg"), canonical_name("layer3@avg", "avg")
    ('layer3@2x2', 'layer3')
    """
    layer, own = split_pooled_name(name)
    return layer if own in (None, pool) else pooled_name(layer, own)


def name_poolings(layers: list[str], pools: list[str]) -> list[str]:
    """Return the names of layers in each of some poolings, each once.

    Parameters
    ----------
    layers : list of str
        A layer with a pooling of its own has that alone.
    pools : list of str
        Checked poolings. Layers in the first, which is the spec's, have their plain names.

    Examples
    --------
    >>> name_poolings(["layer3", "layer4@max"], ["avg", "2"])
    ['layer3', 'layer3@2x2', 'layer4@max']
    """
    named = [
        name if split_pooled_name(name)[1] else pooled_name(name, pool)
        for name in layers
        for pool in pools
    ]
    return list(dict.fromkeys(canonical_name(name, pools[0]) for name in named))
