"""Requirements of an update: a path that is free, and the spec, layout and views of the cache."""

import dataclasses
import os
from pathlib import Path

from bottleneck.cache.format.manifest import Manifest, StorageLayout, is_cache, require_cache
from bottleneck.cache.format.paths import has_shards
from bottleneck.cache.store import Cache
from bottleneck.data import ViewRecipe
from bottleneck.errors import CacheError, SpecMismatchError
from bottleneck.pooling import pooled_name
from bottleneck.spec import Spec


def require_free(path: Path) -> None:
    """Refuse a path at which no cache can be made.

    Parameters
    ----------
    path : Path

    Raises
    ------
    CacheError
        It is in use for something else, or a cache there has lost its ``spec.json``.
    """
    # images.csv alone is left by a run that ended before it had created the cache.
    names = [p.name for p in path.iterdir() if not p.name.startswith(".")] if path.is_dir() else []
    others = sorted(set(names) - {"images.csv"})
    if is_cache(path):
        return  # another process has created it in the meantime
    if has_shards(path):
        require_cache(path)  # says how to restore one that has lost its spec.json
    nearest = next(p for p in (path, *path.parents) if os.path.lexists(p))
    if not nearest.is_dir() or others:
        what = f"it holds {others[0]}" if others else _not_a_folder(path, nearest)
        raise CacheError(
            f"{path} is not a cache, {what}: name an empty or new directory with `out`"
        )


def _not_a_folder(path: Path, nearest: Path) -> str:
    kind = "a file" if nearest.exists() else f"a link to {nearest.readlink()}, which is not there"
    return f"{'it' if nearest == path else nearest} is {kind}"


def manifest_with_recipe(cache: Cache, recipe: ViewRecipe | None) -> Manifest:
    """Return a cache's manifest with the recipe of a run; refuse another one than its views have.

    A recipe binds a cache as a spec does: once there is a shard that was made by it.

    Parameters
    ----------
    cache : Cache
    recipe : ViewRecipe or None
        None for a run without views.

    Raises
    ------
    SpecMismatchError
        The cache has views by another recipe, or is of a version that has none.
    """
    manifest = cache.manifest
    if recipe in (None, manifest.view_recipe):
        return manifest
    if manifest.version < 3:
        raise SpecMismatchError(
            f"cache {cache.path} is of format version {manifest.version}, which has no views: "
            "extract into another directory with `out`"
        )
    if manifest.view_recipe and cache.has_views:
        raise SpecMismatchError(
            f"cache {cache.path} has views by {manifest.view_recipe}, this run asks for {recipe}: "
            "leave `augmentations` and `seed` out to use the cache's own, or name another cache "
            "with `out`"
        )
    return dataclasses.replace(manifest, view_recipe=recipe)


def require_same(manifest: Manifest, path: Path, spec: Spec, layout: StorageLayout) -> None:
    """Refuse a run whose codes would not be those of a cache.

    Parameters
    ----------
    manifest : Manifest
        Of the cache.
    path : Path
        Of the cache, for the message.
    spec, layout : Spec, StorageLayout
        Of the run.

    Raises
    ------
    SpecMismatchError
        Spec or storage layout differ.
    """
    next_step = "codes of two specs are never mixed; name another cache with `out`"
    if dataclasses.replace(spec, pool=manifest.spec.pool) == manifest.spec:
        next_step = f"codes with that pooling are of layers named {pooled_name('LAYER', spec.pool)}"
    manifest.spec.require(spec, this=f"cache {path}", that="this run", next_step=next_step)
    for name, value in dataclasses.asdict(manifest.layout).items():
        wanted = getattr(layout, name)
        if value != wanted:
            raise SpecMismatchError(
                f"cache {path} has {name} {value}, this run asks for {wanted}: leave `{name}` "
                "out to use the cache's own, or name another cache with `out`"
            )
