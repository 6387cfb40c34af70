"""The request of an extraction beside the network, and the work planned for it."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain, product
from pathlib import Path

from bottleneck.cache import (
    Cache,
    CacheUpdate,
    Series,
    StorageLayout,
    cache_path,
    plan_update,
    release_empty_cache,
)
from bottleneck.data import ImageSource, SourceSummary, ViewRecipe, summarize_images
from bottleneck.errors import InvalidOptionError, SpecMismatchError
from bottleneck.extraction.options import RunOptions
from bottleneck.extraction.planning.missing_shards import MissingShards, find_missing
from bottleneck.extraction.planning.remaining_images import RemainingImages
from bottleneck.model_reference import ModelReference
from bottleneck.runtime import format_count
from bottleneck.spec import Spec


@dataclass(frozen=True)
class ExtractionRequest:
    """The arguments of an extraction, beside the network.

    Attributes
    ----------
    cache : Path or Cache
        Where there is a cache, it is open.
    source : ImageSource
    series : sequence of Series
        Layers and views whose codes are to be there.
    recipe : ViewRecipe or None
        How the views are made; None without any.
    run : RunOptions
        Which shards to make, by which workers.
    """

    cache: Path | Cache
    source: ImageSource
    series: Sequence[Series]
    recipe: ViewRecipe | None
    run: RunOptions

    def plan(self, spec: Spec, layout: StorageLayout, reference: ModelReference) -> "PlannedRun":
        """Return what is to be done for codes of a spec.

        Parameters
        ----------
        spec : Spec
        layout : StorageLayout
            That of an existing cache, or of a new one.
        reference : ModelReference
            Origin of the network.

        Raises
        ------
        SpecMismatchError
            The cache holds codes of another spec.
        InvalidOptionError
            A shard is to be made again that is not of the run.
        """
        plan = partial(
            plan_update,
            source=self.source,
            spec=spec,
            layout=layout,
            reference=reference,
            view_recipe=self.recipe,
            check_content=self.run.check_content,
            task=self.run.task,
            on_progress=self.run.on_progress,
        )
        try:
            update = plan(self.cache)
        except SpecMismatchError:  # a cache that holds no codes yet is begun anew
            path = cache_path(self.cache)
            if not release_empty_cache(path):
                raise
            update = plan(path)
        missing = _find_missing(update, self.series, self.run)
        return PlannedRun(self, update, missing, summarize_images(self.source))


@dataclass(frozen=True)
class PlannedRun:
    """The planned work: the update of the cache, and the shards to make.

    Attributes
    ----------
    request : ExtractionRequest
    update : CacheUpdate
    missing : MissingShards
        The task's shards that are absent, stale, or asked for again.
    images : SourceSummary
        What was found in the source of the images.
    """

    request: ExtractionRequest
    update: CacheUpdate
    missing: MissingShards
    images: SourceSummary

    @property
    def source(self) -> RemainingImages:
        """Return the images, of which those that were removed are not read."""
        return RemainingImages(self.request.source, self.update.removed_rows)

    @property
    def notes(self) -> tuple[str, ...]:
        """Say how many images are encoded again only because they share a shard with others."""
        changes = self.update.changes
        sharing = self._rows_made_again() - changes.changed
        if not (changes.added or changes.changed) or sharing <= 0:
            return ()
        return (
            f"{format_count(sharing, 'image')} with codes will be encoded again: a shard with new "
            f"or changed images is made as a whole",
        )

    def _rows_made_again(self) -> int:
        """Return how many images are in shards that exist already and are made again."""
        cache, removed = self.update.cache, self.update.removed_rows
        before = len(cache.images) - self.update.changes.added
        shards = {
            shard
            for series, missing in self.missing.items()
            for shard in set(missing).difference(*map(cache.absent_shards, series))
        }
        rows = chain.from_iterable(map(cache.rows, shards))
        return sum(row < before and row not in removed for row in rows)


def _find_missing(update: CacheUpdate, series: Sequence[Series], run: RunOptions) -> MissingShards:
    """Return the task's shards that are absent, stale, or asked for again; refuse unknown ones."""
    cache, shards = update.cache, set[int]()
    if run.retry_rejected and not update.new:
        rejected = cache.rejected(run.task.shards(cache.shard_count))
        shards = {row // cache.layout.shard_size for row in rejected.keys() - update.removed_rows}
    asked = {(Series.of(layer), shard) for layer, shard in run.redo}
    for each, shard in asked:
        if each not in series or shard not in range(cache.shard_count):
            names = ", ".join(map(str, series))
            allowed = f"shards of the run: 0 to {cache.shard_count - 1} of {names}"
            raise InvalidOptionError("redo", f"{each}, {shard}", allowed)
    return find_missing(cache, series, run.task, {*asked, *update.stale, *product(series, shards)})
