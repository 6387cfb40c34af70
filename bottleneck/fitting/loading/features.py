"""What a classifier reads of each image: codes of one or several layers, in one or more views."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, Self

import numpy as np
from numpy.typing import NDArray

from bottleneck.cache import Cache, Series, without_removed
from bottleneck.data import ViewRecipe
from bottleneck.errors import CacheError, InvalidOptionError, UnknownNameError
from bottleneck.linear import column_blocks
from bottleneck.pooling import canonical_name, split_pooled_name

ALL = "all"  # of the layers or the views of a cache
INPUT = ""  # in place of a layer: what the network gets, for a classifier that is a whole network
Views = int | Literal["all"]
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
    recipe : ViewRecipe or None
        How the views are made; None where there is only the plain one.

    Examples
    --------
    >>> str(Features(("layer3", "layer4"), views=5))
    'layer3 + layer4, 5 views'
    """

    layers: tuple[str, ...]
    views: int = 1
    recipe: ViewRecipe | None = None

    def __str__(self) -> str:
        """Name the layers, and the views if there are several."""
        views = f", {self.views} views" if self.views > 1 else ""
        return " + ".join(layer or "the images" for layer in self.layers) + views

    @property
    def file_name(self) -> str:
        """Return the layers as a part of a file's name.

        Examples
        --------
        >>> Features(("layer3", "layer4")).file_name, Features(tuple("abcd")).file_name
        ('layer3+layer4', '4-layers')
        """
        n = len(self.layers)
        if self.layers == (INPUT,):
            return "network"
        return "+".join(self.layers) if n <= _MOST_NAMED else f"{n}-layers"

    def with_views(self, views: int) -> Self:
        """Return the same layers in another number of views.

        Raises
        ------
        InvalidOptionError
            `views` is below 1, or above 1 where nothing says how views are made.

        Examples
        --------
        >>> Features(("layer3",), 5, ViewRecipe()).with_views(1)
        Features(layers=('layer3',), views=1, recipe=None)
        """
        if type(views) is not int or views < 1:
            raise InvalidOptionError("views", views, "a whole number above 0, or all")
        if views > 1 and self.recipe is None:
            raise InvalidOptionError("views", views, "1: there are no views of these images")
        return replace(self, views=views, recipe=self.recipe if views > 1 else None)

    def cost(self, costs: Mapping[str, float | None]) -> float | None:
        """Return the cost of the deepest layer, once for each view.

        Parameters
        ----------
        costs : mapping of str to (float or None)
            Part of the network that each layer needs, as `Cache.layer_costs` gives it.

        Returns
        -------
        float or None
            None where that of a layer is unknown.

        Examples
        --------
        >>> Features(("layer3", "layer4"), views=5).cost({"layer3": 0.5, "layer4": 1.0})
        5.0
        """
        known = [cost for layer in self.layers if (cost := costs[layer]) is not None]
        return self.views * max(known) if len(known) == len(self.layers) else None

    def sizes(self, cache: Cache) -> tuple[int, ...]:
        """Return the number of values of a flattened code of each layer, all finished."""
        return tuple(math.prod(cache.code_shape(layer)) for layer in self.layers)

    def valid_rows(self, cache: Cache) -> NDArray[np.bool_]:
        """Return which rows have codes in every layer and view, shape (rows,).

        Raises
        ------
        CacheError
            A layer or a view of it is not there or not finished, or the views are other ones.
        """
        if self.recipe is not None and cache.view_recipe not in (self.recipe, None):
            raise CacheError(
                f"{cache.path} has views by {cache.view_recipe}, not by {self.recipe}: `views=1` "
                "uses the images alone"
            )
        if absent := [layer for layer in self.layers if layer not in cache.layers]:
            raise CacheError(  # another cache than that in which the names were found
                f"{cache.path} has no layer {absent[0]!r}, it has {', '.join(cache.layers)}: "
                f"`bottleneck.extract` with `layers={absent[0]}` adds it"
            )
        each = [cache.valid_rows(layer, self.views) for layer in self.layers]
        valid: NDArray[np.bool_] = np.all(each, axis=0)
        return valid

    def rejected(self, cache: Cache) -> dict[int, str]:
        """Return the rows that lack codes in some layer or view, with the first one's reason.

        Removed images lack nothing.
        """
        reasons: dict[int, str] = {}
        for layer, view, _ in self.series(cache):
            finished = cache.finished_shards(Series(layer, view))
            reasons = cache.row_validity(finished)[1] | reasons
        return without_removed(reasons)

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
            codes[:, view, columns] = cache.read_codes(layer, rows, view)
        return codes.reshape(-1, d)


def require_layers(cache: Cache, layers: str | Iterable[str] | None) -> tuple[str, ...]:
    """Return layers of a cache, each once; for ``"all"`` all but maps beside codes (``x@none``).

    Parameters
    ----------
    cache : Cache
        Cache with the layers.
    layers : str or iterable of str, optional
        Names of layers: a list, an array, a column of a table; none unless given.

    Raises
    ------
    UnknownNameError
        The cache has no such layer.
    InvalidOptionError
        A name is no text.
    """
    known = cache.layers
    named: list[str] = []
    layers = () if layers is None else layers
    if isinstance(layers, str) or not isinstance(layers, Iterable):
        layers = [layers]
    for layer in layers:
        if not isinstance(layer, str):
            raise InvalidOptionError("layers", layer, "names of layers, which are texts")
        if layer == ALL and ALL not in known:
            # Maps beside codes are for training the layers behind them.
            named += [each for each in known if split_pooled_name(each)[1] != "none"] or known
        elif layer in known:
            named.append(layer)
        elif (canonical := canonical_name(layer, cache.spec.pool)) in known:
            named.append(canonical)
        else:
            hint = "(`bottleneck.extract` adds more)"
            raise UnknownNameError("layer", layer, known, hint, of=cache.path)
    return tuple(dict.fromkeys(named))


def resolve_features(
    cache: Cache, layers: str | Sequence[str] | None, views: Views = "all"
) -> Features:
    """Return what to train on: the layers that were named, or the cache's only one, and the views.

    Parameters
    ----------
    cache : Cache
        Cache with the layers.
    layers : str or sequence of str, optional
        Names of layers, or ``"all"``; needed where the cache has several.
    views : int or "all"
        Number of views, counted from the plain image; by default all that every layer has.

    Raises
    ------
    UnknownNameError
        The cache has no such layer.
    InvalidOptionError
        No layer was named, and the cache has several or none; or `views` is below 1.
    CacheError
        All views are asked for, and one is not finished.
    """
    known = cache.layers
    chosen = require_layers(cache, layers) if known else ()
    if not chosen and len(known) == 1:
        chosen = tuple(known)
    if not chosen:
        raise InvalidOptionError(
            "layers",
            layers,
            f"some of the {len(known)} layers of {cache.path} "
            f"({', '.join(known) or 'none is extracted yet'}), or all",
            "`bottleneck.sweep` compares them",
        )
    count = min(cache.views(layer) for layer in chosen) if views == "all" else views
    return Features(chosen, recipe=cache.view_recipe).with_views(count)
