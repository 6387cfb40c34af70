"""Create a cache, or bring an existing one up to date with its images.

Nothing is deleted before its replacement is complete. A kill between any two steps loses nothing:

1. The images whose size or time is not that of the table are compared with the digests in the
   shards. A task does so with the rows of its own shards alone.
2. ``codes.h5`` and ``rejected.csv`` are removed if shards will be replaced or rows are new.
3. The table is written. It has the present sizes and times, except of rows whose image has
   changed: their time is -1. The shards that hold them do not count as finished until step 6,
   and every later run compares them again.
4. Each stale shard is replaced by its successor, by one rename. Until then it stays.
5. Stale shards of series that are not part of the run are removed: this run does not replace them.
6. The table is written with the present sizes and times of all rows that the run was for.

A run that is killed before step 6 leaves rows of time -1. The next run compares them: shards that
were replaced already have the present digests and are kept, others are stale.

Tasks write one table, each with new times for rows of its own shards only; of all others it keeps
what the table has, or the time -1 where label, split or group are others, too. If two write at the
same time, the sizes and times of one are lost, and its images are compared once more by a later
run. No task removes or replaces another task's shards.
A run ends before step 2 if another one has added images since the table was read.
"""

import dataclasses
import operator
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bottleneck.cache.directory import UNSURE_TIME
from bottleneck.cache.format.manifest import (
    Manifest,
    StorageLayout,
    is_cache,
    manifest_text,
    read_manifest,
)
from bottleneck.cache.format.series import Series, SeriesLike
from bottleneck.cache.index import delete_derived_files
from bottleneck.cache.store import Cache, open_cache
from bottleneck.cache.update.content import compare_content, stored_digests
from bottleneck.cache.update.merge import ImageChanges, merge_with_cache
from bottleneck.cache.update.requirements import (
    manifest_with_recipe,
    require_free,
    require_same,
)
from bottleneck.data import ImageSource, ImageTable, ViewRecipe
from bottleneck.errors import CacheError, ImagesTableError
from bottleneck.model_reference import ModelReference
from bottleneck.runtime import ArrayTask, OnProgress, ignore_progress, write_text_atomic
from bottleneck.spec import Spec


@dataclass(frozen=True)
class CacheUpdate:
    """A planned update of a cache. Nothing changes on the disk before `apply`.

    Attributes
    ----------
    cache : Cache
        The cache as it will be after `finish`.
    changes : ImageChanges
        Changes since the last update; none for a new cache. Of one task of several, changed and
        touched images are those of its own shards.
    stale : frozenset of (Series, int)
        Series and number of each shard that was made of other bytes than its images have now.
    removed_rows : frozenset of int
        Rows of images that the source no longer names. A CSV's path without a file is not one of
        them, though the table has the same size and time for it.
    """

    cache: Cache
    changes: ImageChanges
    _opened: Cache | None  # what the update was planned from
    _until_finished: ImageTable  # from `apply` until `finish`
    stale: frozenset[tuple[Series, int]] = frozenset()
    removed_rows: frozenset[int] = frozenset()
    _task: ArrayTask = ArrayTask()
    _digests: dict[int, str] = dataclasses.field(default_factory=dict)  # of changed rows, now

    @property
    def new(self) -> bool:
        """Return whether there was no cache when the update was planned."""
        return self._opened is None

    def apply(self) -> Cache:
        """Write ``images.csv`` and ``spec.json``. No shard is removed.

        Returns
        -------
        Cache
            The cache as it is on the disk now.

        Raises
        ------
        SpecMismatchError
            Another process has created a cache of another spec or layout since.
        CacheError
            Another process has added images since. Nothing has been written.
        OSError
            A file could not be written.
        """
        cache, table, now = self.cache, self._until_finished, self._read_table()
        if now is not None and len(now) > len(table):  # this run would not make their shards
            raise _changed_meanwhile(cache.path)
        self._require_same_images(table, now)
        if now is not None and now is not self._known:
            others = np.flatnonzero(~self._own_rows(now) & table.exists[: len(now)])
            table = _with_others_of(table, now, others)
        if self.new and is_cache(cache.path):  # another task of the same run was faster
            require_same(read_manifest(cache.path), cache.path, cache.spec, cache.layout)
        if self.changes.added or self.changes.changed:
            # They would lack the new rows, or mark rows valid whose codes are stale.
            delete_derived_files(cache)
        cache = self._write(table, now)
        if self._opened is not None and self._opened.manifest == cache.manifest:
            return cache
        self._write_manifest(now)  # last
        # Tasks that begin together all write table and manifest, and the last rename wins. If
        # images were added in between, the cache ids differ, and shards of the others are missing.
        return dataclasses.replace(cache, manifest=read_manifest(cache.path))

    def _write_manifest(self, now: ImageTable | None) -> None:
        """Write ``spec.json`` for a new cache, or with the recipe for the first views of one."""
        path, manifest = self.cache.path, self.cache.manifest
        if now is not None:  # another task may have written it since
            present = read_manifest(path)
            recipe = manifest.view_recipe
            manifest = manifest_with_recipe(
                dataclasses.replace(self.cache, manifest=present), recipe
            )
            if manifest == present:
                return
        write_text_atomic(path / "spec.json", manifest_text(manifest))

    def finish(self, cache: Cache, series: Collection[SeriesLike]) -> Cache:
        """Record that the task's shards of some series are of the images as they are now.

        Stale shards of other series are removed, unless another task has replaced them.

        Parameters
        ----------
        cache : Cache
            What `apply` returned.
        series : collection of str or Series
            Series of which every shard of the task is finished.

        Returns
        -------
        Cache
            The cache as it is on the disk now.

        Raises
        ------
        CacheError
            Another process has put other images into its rows since.
        OSError
            A file could not be written or removed.
        """
        made = set(map(Series.of, series))
        others = [item for item in sorted(self.stale) if item[0] not in made]
        stale = [item for item in others if self._is_stale(*item)]
        if stale:
            delete_derived_files(cache)
        for stale_series, shard in stale:
            cache.shard_path(stale_series, shard).unlink(missing_ok=True)
        table = self.cache.images
        is_written = self._until_finished is table
        if is_written and not (self.new or self.changes.added):
            return cache  # there are no new rows that another run may have replaced
        now = self._read_table()
        self._require_same_images(table, now)
        if is_written:
            return cache
        if now is not None and len(now) >= len(table):  # labels may be of a later run
            table = _with_stamps_of(now, table, np.flatnonzero(self._own_rows(table)))
        return dataclasses.replace(self._write(table, now), manifest=cache.manifest)

    def _is_stale(self, series: Series, shard: int) -> bool:
        rows = [row for row in self.cache.rows(shard) if row in self._digests]
        then = stored_digests(self.cache, shard, rows).get(series, {})
        return any(self._digests[row] != digest for row, digest in then.items())

    def _write(self, table: ImageTable, now: ImageTable | None) -> Cache:
        if table != now:
            table.write_csv(self.cache.path / "images.csv")
        return dataclasses.replace(self.cache, images=table)

    @property
    def _known(self) -> ImageTable:
        return self.cache.images if self._opened is None else self._opened.images

    def _read_table(self) -> ImageTable | None:
        """Return the table as it is on the disk now; None unless there is an intact one."""
        if not is_cache(self.cache.path):
            return None  # images.csv alone is left by a run that ended early
        try:
            return ImageTable.read_csv(self.cache.path / "images.csv", known=self._known)
        except (FileNotFoundError, ImagesTableError):
            return None

    def _require_same_images(self, table: ImageTable, now: ImageTable | None) -> None:
        """Refuse a table on the disk that has another image in a row that both have."""
        same = now is None or now is self._known or all(map(operator.eq, now.path, table.path))
        if not same:
            raise _changed_meanwhile(self.cache.path)

    def _own_rows(self, table: ImageTable) -> NDArray[np.bool_]:
        """Return which rows of a table are in shards of the task."""
        return _own_rows(len(table), self.cache.layout.shard_size, self._task)


def plan_update(
    cache: Path | Cache,
    source: ImageSource,
    *,
    spec: Spec,
    layout: StorageLayout,
    reference: ModelReference,
    view_recipe: ViewRecipe | None = None,
    check_content: bool = False,
    task: ArrayTask = ArrayTask(),
    on_progress: OnProgress = ignore_progress,
) -> CacheUpdate:
    """Plan a new cache, or the update of an existing one to the images as they are now.

    Existing rows keep their numbers. New images become rows at the end. The rows of images that
    are gone stay and are not valid. Images whose size or time is another now are read, and their
    bytes are compared with the digests in the shards.

    Parameters
    ----------
    cache : Path or Cache
        The directory, or the cache if it is open already.
    source : ImageSource
        The images as they are now.
    spec : Spec
        The spec of the run; must equal that of an existing cache.
    layout : StorageLayout
        The storage layout of the run; must equal that of an existing cache.
    reference : ModelReference
        Where the network came from; stored in a new cache.
    view_recipe : ViewRecipe, optional
        How views are made, in a run that makes some; must equal that of a cache that has views.
    check_content : bool
        Whether images of the same size and time are read and compared as well.
    task : ArrayTask
        Part of the shards whose images are compared. The others' rows stay as they are.
    on_progress : callable, optional
        Called with the `Progress` of the images that are compared.

    Returns
    -------
    CacheUpdate

    Raises
    ------
    SpecMismatchError
        The cache has another spec, layout or recipe of views, or none of the images.
    CacheError
        The path is in use for something else.
    ContainerError
        A file that holds images has changed, or cannot be opened any more.
    OSError
        The storage of the images fails.
    """
    path = cache.path if isinstance(cache, Cache) else cache
    images = source.table
    if not is_cache(path):
        require_free(path)
    if not is_cache(path):
        manifest = Manifest(spec, layout, reference, images.digest, view_recipe=view_recipe)
        return CacheUpdate(Cache(path, manifest, images), ImageChanges(), None, images)
    opened = open_cache(cache, images)
    require_same(opened.manifest, path, spec, layout)
    planned = dataclasses.replace(opened, manifest=manifest_with_recipe(opened, view_recipe))
    if opened.images is images and not check_content:  # the usual case for one of many tasks
        return CacheUpdate(planned, ImageChanges(), opened, images)
    return _compare(opened, planned, source, task, on_progress, check_content=check_content)


def _compare(
    opened: Cache,
    planned: Cache,
    source: ImageSource,
    task: ArrayTask,
    on_progress: OnProgress,
    *,
    check_content: bool,
) -> CacheUpdate:
    """Compare the images of a task's suspect rows with the shards, and plan the two tables."""
    merged = merge_with_cache(opened, source.table)
    suspects = merged.kept if check_content else merged.differing
    own = _own_rows(len(merged.table), opened.layout.shard_size, task)
    after = dataclasses.replace(planned, images=merged.table)
    found = compare_content(after, source, suspects[own[suspects]], on_progress)
    # Where new images make the last shard longer, or one has come back, the old file counts as
    # unfinished in `after`. Its rows are compared with that file as the cache had it before.
    unheld = np.setdiff1d(suspects[own[suspects]], np.union1d(found.same, found.changed))
    outgrown = compare_content(opened, source, unheld, on_progress)
    differing = merged.differing
    final = _with_others_of(merged.table, opened.images, differing[~own[differing]])
    if final == opened.images:  # the object itself, so that the file is not read again
        final = opened.images
    unknown = np.setdiff1d(differing[own[differing]], found.same)
    until_then = _with_stamps_of(final, opened.images, np.union1d(unknown, found.changed))
    return CacheUpdate(
        dataclasses.replace(planned, images=final),
        ImageChanges(
            merged.added,
            len(found.changed) + len(outgrown.changed),
            merged.removed,
            touched=len(np.intersect1d(differing, np.union1d(found.same, outgrown.same))),
        ),
        opened,
        _with_unsure_time(until_then, np.union1d(found.changed, outgrown.changed)),
        stale=found.stale,
        removed_rows=frozenset(merged.removed_rows.tolist()),
        _task=task,
        _digests=found.digests,
    )


def _own_rows(count: int, shard_size: int, task: ArrayTask) -> NDArray[np.bool_]:
    """Return which of so many rows are in shards of a task."""
    own: NDArray[np.bool_] = np.arange(count) // shard_size % task.count == task.index
    return own


def _with_stamps_of(table: ImageTable, old: ImageTable, rows: NDArray[np.int64]) -> ImageTable:
    """Return a table whose size and time of some rows are those of an older table."""
    if not len(rows):
        return table
    size, mtime = table.size.copy(), table.mtime_ns.copy()
    size[rows], mtime[rows] = old.size[rows], old.mtime_ns[rows]
    return dataclasses.replace(table, size=size, mtime_ns=mtime)


def _with_others_of(table: ImageTable, old: ImageTable, rows: NDArray[np.int64]) -> ImageTable:
    """Return a table whose size and time of other tasks' rows are those of an older table.

    Where an image has another label, split or group as well as another size or time, its codes may
    be those of another image, which the older label belongs to: its task compares it first.
    """
    moved = (table.size[rows] != old.size[rows]) | (table.mtime_ns[rows] != old.mtime_ns[rows])
    rows = rows[moved]
    new, then = table.take(rows), old.take(rows)
    relabelled = (
        new.label.differs(then.label)
        | new.split.differs(then.split)
        | new.group.differs(then.group)
    )
    return _with_unsure_time(_with_stamps_of(table, old, rows), rows[relabelled])


def _with_unsure_time(table: ImageTable, rows: NDArray[np.int64]) -> ImageTable:
    if not len(rows):
        return table
    mtime = table.mtime_ns.copy()
    mtime[rows] = UNSURE_TIME
    return dataclasses.replace(table, mtime_ns=mtime)


def _changed_meanwhile(path: Path) -> CacheError:
    return CacheError(
        f"another run has added images to cache {path} meanwhile: run the same "
        "`bottleneck.extract` again"
    )
