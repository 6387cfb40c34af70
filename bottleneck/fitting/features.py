"""What a classifier reads of each image: codes of one or several layers, in one or more views."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bottleneck.cache import Cache
from bottleneck.errors import InvalidOptionError, UnknownNameError
from bottleneck.linear import column_blocks

ALL = "all"  # of the layers or the views of a cache
_MOST_NAMED = 3  # layers in the name of a file


@dataclass(frozen=True)
class Features:
    """Layers whose codes are side by side in a row, and the number of rows of an image.

    Attributes
    ----------
    layers : tuple of str
        Layers, each once, in the order of their columns.
    views : int
        Views of an image, counted from the plain one; each is a row.

    Examples
    --------
    >>> str(Features(("layer3", "layer4"), views=5))
    'layer3 + layer4, 5 views'
    """

    layers: tuple[str, ...]
    views: int = 1

    def __str__(self) -> str:
        """Name the layers, and the views if there are several."""
        views = f", {self.views} views" if self.views > 1 else ""
        return " + ".join(self.layers) + views

    @property
    def file_name(self) -> str:
        """Return the layers as a part of a file's name.

        Examples
        --------
        >>> Features(("layer3", "layer4")).file_name, Features(tuple("abcd")).file_name
        ('layer3+layer4', '4-layers')
        """
        n = len(self.layers)
        return "+".join(self.layers) if n <= _MOST_NAMED else f"{n}-layers"

    def sizes(self, cache: Cache) -> tuple[int, ...]:
        """Return the number of values of a flattened code of each layer, all finished."""
        return tuple(code_size(cache, layer) for layer in self.layers)

    def valid_rows(self, cache: Cache) -> NDArray[np.bool_]:
        """Return which rows have codes in every layer and view, shape (rows,).

        Raises
        ------
        CacheError
            A layer or a view of it is not finished.
        """
        valid: NDArray[np.bool_] = np.all([cache.valid_rows(each) for each in self.layers], axis=0)
        return valid

    def rejected(self, cache: Cache) -> dict[int, str]:
        """Return the rows that lack codes in some layer, each with the reason of the first one."""
        reasons: dict[int, str] = {}
        for layer in self.layers:
            reasons = cache.row_validity(layer)[1] | reasons
        return reasons

    def series(self, cache: Cache) -> Iterator[tuple[str, int, slice]]:
        """Yield the layer, the view and the columns of everything that a row is made of."""
        columns = list(column_blocks(self.sizes(cache)))
        for view in range(self.views):
            for layer, where in zip(self.layers, columns, strict=True):
                yield layer, view, where

    def read(self, cache: Cache, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Read the codes of some images.

        Parameters
        ----------
        cache : Cache
        rows : ndarray of int64, shape (n,)
            Ascending row numbers, each valid.

        Returns
        -------
        ndarray of float32, shape (n · views, d)
            The views of an image are consecutive.

        Raises
        ------
        ShardError
            A shard is absent, damaged, or holds other rows than its name says.
        """
        if self.views == len(self.layers) == 1:
            return cache.read_codes(self.layers[0], rows)
        d = sum(self.sizes(cache))
        codes = np.empty((len(rows), self.views, d), dtype=np.float32)
        for layer, view, columns in self.series(cache):
            codes[:, view, columns] = cache.read_codes(layer, rows)
        return codes.reshape(-1, d)


def code_size(cache: Cache, layer: str) -> int:
    """Return the number of values of a flattened code of a layer with at least one shard."""
    return math.prod(next(iter(cache.finished_shards(layer).values())).shape[1:])


def require_layers(cache: Cache, layers: Sequence[str]) -> tuple[str, ...]:
    """Return layers of a cache, each once; all of them for ``"all"``.

    Parameters
    ----------
    cache : Cache
        Cache with the layers.
    layers : sequence of str
        Names of layers.

    Raises
    ------
    UnknownNameError
        The cache has no such layer.
    """
    known = cache.layers
    named: list[str] = []
    for layer in layers:
        if layer == ALL and ALL not in known:
            named += known
        elif layer in known:
            named.append(layer)
        else:
            hint = "(`bottleneck.extract` adds more)"
            raise UnknownNameError(f"layer of {cache.path}", layer, known, hint)
    return tuple(dict.fromkeys(named))


def resolve_features(cache: Cache, layers: str | Sequence[str] | None) -> Features:
    """Return what to train on: the layers that were named, or the cache's only one.

    Parameters
    ----------
    cache : Cache
        Cache with the layers.
    layers : str or sequence of str, optional
        Names of layers, or ``"all"``; needed where the cache has several.

    Raises
    ------
    UnknownNameError
        The cache has no such layer.
    InvalidOptionError
        No layer was named, and the cache has several or none.
    """
    known = cache.layers
    named = [layers] if isinstance(layers, str) else list(layers or ())
    if not named and len(known) == 1:
        named = known
    if not named or not known:
        raise InvalidOptionError(
            "layers",
            layers,
            f"some of the {len(known)} layers of {cache.path} "
            f"({', '.join(known) or 'none is extracted yet'}), or all",
            "`bottleneck.sweep` compares them",
        )
    return Features(require_layers(cache, named))
