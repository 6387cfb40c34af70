"""Describe what a cache holds: finished, rejected and missing rows of each layer."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bottleneck.cache.directory import CacheDirectory, without_removed
from bottleneck.cache.format.shard import ShardHeader
from bottleneck.data import ViewRecipe
from bottleneck.pooling import canonical_name
from bottleneck.runtime import (
    PreformattedText,
    array_option,
    escape_unprintable,
    format_rejected,
    format_size,
    format_table,
    pending_by_task,
    require_positive,
)
from bottleneck.spec import Spec


@dataclass(frozen=True)
class LayerStatus:
    """State of one layer, with all views that were begun.

    Attributes
    ----------
    done, rejected, missing : int
        Rows that gave codes in every view, gave none, and are still to be extracted in some view.
        Together all rows.
    missing_shards : tuple of int
        The shards that are still to be extracted in some view.
    shape : tuple of int
        Shape of one image's code; empty while no shard is finished.
    dtype : str
        Type of the stored codes; ``"float16+float32"`` where float16 could not hold a shard.
    bytes : int
        Size of the layer's files.
    views : int
        Views of each image, of which the first is the image itself.
    widened : int
        Shards that are float32 because float16, in which the cache stores codes, could not hold
        them.
    """

    done: int
    rejected: int
    missing: int
    missing_shards: tuple[int, ...]
    shape: tuple[int, ...]
    dtype: str
    bytes: int
    views: int = 1
    widened: int = 0


@dataclass(frozen=True)
class CacheStatus(PreformattedText):
    """State of a cache, as `bottleneck status` prints it.

    Attributes
    ----------
    path : Path
    rows : int
        Rows of the cache: images that it knows.
    spec : Spec
    layers : mapping of str to LayerStatus
        By the name of the layer.
    rejected : mapping of str to str
        Why an image gave no codes, by its path. Removed images are not among them.
    tasks : int
        Number of array tasks among which the missing shards are divided.
    view_recipe : ViewRecipe or None
        How the views of each image are made, if there are any.
    removed : int
        Rows of removed images. The layers count them as rejected.

    Examples
    --------
    >>> import bottleneck as bn  # doctest: +SKIP
    >>> status = bn.status("photos.cache")  # doctest: +SKIP
    >>> status.complete, status.layers["layer3"].done  # doctest: +SKIP
    (True, 398)
    """

    path: Path
    rows: int
    spec: Spec
    layers: Mapping[str, LayerStatus]
    rejected: Mapping[str, str]
    tasks: int = 1
    view_recipe: ViewRecipe | None = None
    removed: int = 0

    @property
    def without_codes(self) -> list[str]:
        """Return the names of the layers at which every row of the cache was rejected."""
        return [n for n, layer in self.layers.items() if 0 < self.rows == layer.rejected]

    @property
    def finished(self) -> bool:
        """Return whether there are layers, and no shard is missing in them."""
        return bool(self.layers) and not any(s.missing_shards for s in self.layers.values())

    @property
    def complete(self) -> bool:
        """Return whether the cache is finished, and each layer has codes."""
        return self.finished and not self.without_codes

    @property
    def pending_by_task(self) -> dict[int, int]:
        """Return how many shards each array task has still to extract, if any."""
        missing = (shard for layer in self.layers.values() for shard in layer.missing_shards)
        return pending_by_task(missing, self.tasks)

    def to_dict(self) -> dict[str, Any]:
        """Return the status as plain values, which can be written as JSON."""
        return {
            "rows": self.rows,
            "removed": self.removed,
            "complete": self.complete,
            "spec_digest": self.spec.digest(),
            "spec": self.spec.to_json(),
            "views": self.view_recipe.to_json() if self.view_recipe else None,
            "layers": {
                name: {
                    "done": layer.done,
                    "missing": layer.missing,
                    "rejected": layer.rejected,
                    "shape": list(layer.shape),
                    "dtype": layer.dtype,
                    "bytes": layer.bytes,
                    "views": layer.views,
                    "widened": layer.widened,
                }
                for name, layer in self.layers.items()
            },
            "missing": {
                name: list(layer.missing_shards)
                for name, layer in self.layers.items()
                if layer.missing_shards
            },
            "by_task": {str(task): shards for task, shards in self.pending_by_task.items()},
            "without_codes": self.without_codes,
        }

    def __str__(self) -> str:
        lines = [self._headline(), self._table()]
        if widened := sum(layer.widened for layer in self.layers.values()):
            lines.append(
                f"shards in float32, of twice the size: {widened}; nothing is lost: their codes "
                "exceed float16's range, which ends at 65504. A new cache with `dtype=float32` has "
                "all alike"
            )
        if self.removed:
            lines.append(f"rows of removed images, which count as rejected: {self.removed}")
        if names := self.without_codes:
            where = escape_unprintable(", ".join(names))
            lines.append(f"no image has codes at {where}: every one was rejected, see the reasons")
        if self.tasks > 1 and (pending := self.pending_by_task):
            lines.append(f"tasks left of {self.tasks}: {array_option(pending)}")
        end = f": {self.path / 'rejected.csv'} names them all"
        return "\n".join([*lines, *format_rejected(self.rejected, end=end)])

    def _headline(self) -> str:
        spec = self.spec
        pooled = f"pool {spec.pool}" if spec.pool != "none" else "unpooled"
        return (
            f"cache {self.path}: {self.rows} rows of {spec.model}, weights "
            f"{spec.weights_digest[:12]}, {spec.transform.crop} px, {spec.precision}, "
            f"{'relu, ' if spec.relu else ''}{pooled}"
            f"{f', views by {self.view_recipe}' if self.view_recipe else ''}"
        )

    def _table(self) -> str:
        heads = ["layer", "done", "rejected", "missing", "views", "code", "dtype", "size"]
        rows = [
            [
                escape_unprintable(name),
                str(layer.done),
                str(layer.rejected),
                str(layer.missing),
                str(layer.views),
                "×".join(map(str, layer.shape)),
                layer.dtype,
                format_size(layer.bytes),
            ]
            for name, layer in self.layers.items()
        ]
        if not self.view_recipe:  # a cache without a recipe of views needs no column of views
            views = heads.index("views")
            for row in (heads, *rows):
                del row[views]
        return format_table(heads, rows)


def describe(
    cache: CacheDirectory,
    layers: str | Sequence[str] = (),
    *,
    shards: Collection[int] | None = None,
    tasks: int = 1,
) -> CacheStatus:
    """Return the status of a cache.

    Parameters
    ----------
    cache : CacheDirectory
    layers : str or sequence of str
        The layers to describe, whether begun or not. All that were begun unless given.
    shards : collection of int, optional
        The shards to look at. All unless given.
    tasks : int
        Number of array tasks among which the missing shards are divided.

    Raises
    ------
    InvalidOptionError
        `tasks` is below 1, or no whole number.
    """
    require_positive("tasks", tasks)
    shards = range(cache.shard_count) if shards is None else shards
    begun = cache.layers
    given = [layers] if isinstance(layers, str) else layers
    layers = [canonical_name(name, cache.spec.pool) for name in given]
    status: dict[str, LayerStatus] = {}
    reasons: dict[int, str] = {}
    for layer in dict.fromkeys([*(layers or begun), *begun]):
        views = [cache.finished_shards(series, shards) for series in cache.series_of(layer)]
        why: dict[int, str] = {}
        for finished in views:
            why |= cache.row_validity(finished)[1]
        if layer in begun:
            reasons.update(why)
        if not layers or layer in layers:
            status[layer] = _layer_status(cache, views, shards, why)
    rejected = without_removed(dict(sorted(reasons.items())))
    return CacheStatus(
        path=cache.path,
        rows=len(cache.images),
        spec=cache.spec,
        layers=status,
        rejected={cache.images.path[row]: why for row, why in rejected.items()},
        tasks=tasks,
        view_recipe=cache.view_recipe,
        removed=len(reasons) - len(rejected),
    )


def _layer_status(
    cache: CacheDirectory,
    views: Sequence[Mapping[int, ShardHeader]],
    shards: Collection[int],
    reasons: Mapping[int, str],
) -> LayerStatus:
    headers = [header for finished in views for header in finished.values()]
    missing = tuple(shard for shard in shards if any(shard not in done for done in views))
    absent, size = set(missing), cache.layout.shard_size
    rejected = sum(row // size not in absent for row in reasons)
    unfinished = sum(len(cache.rows(shard)) for shard in missing)
    every = sum(len(cache.rows(shard)) for shard in shards)
    return LayerStatus(
        done=every - unfinished - rejected,
        rejected=rejected,
        missing=unfinished,
        missing_shards=missing,
        shape=headers[0].shape[1:] if headers else (),
        dtype="+".join(sorted({header.dtype for header in headers})) or cache.layout.dtype,
        bytes=sum(header.bytes for header in headers),
        views=len(views),
        widened=sum(header.dtype != cache.layout.dtype for header in headers),
    )
