"""What a running extraction reports, and its result."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from bottleneck.cache import Cache, CacheStatus, Duplicates, ImageChanges, Problem
from bottleneck.data import SourceSummary
from bottleneck.extraction.planning.disk_space import DiskEstimate
from bottleneck.extraction.planning.limiting_stage import STAGES, slowest_stage, stage_advice
from bottleneck.extraction.planning.missing_shards import OtherTasks
from bottleneck.runtime import (
    ArrayTask,
    PreformattedText,
    Progress,
    RunStats,
    array_expression,
    escape_unprintable,
    format_count,
    pending_by_task,
)


@dataclass(frozen=True)
class ExtractionProgress(Progress):
    """How far an extraction has come.

    Attributes
    ----------
    done, total : int
        Images that were encoded in this run, and that are to be encoded; one counts once for each
        view.
    unit : str
        Images, or views of how many images.
    stats : RunStats
        The time of each stage so far.
    estimate : DiskEstimate
        What the run writes.
    images : SourceSummary
        What was found in the source of the images.
    notes : tuple of str
        What a user should know of the run, a sentence each. Workers add to them when they have
        finished a shard.
    """

    stats: RunStats
    estimate: DiskEstimate
    images: SourceSummary
    notes: tuple[str, ...] = ()

    @property
    def limited_by(self) -> str:
        """The stage that limits the rate; see `bottleneck.extraction.slowest_stage`."""
        return slowest_stage(self.stats.timer)


@dataclass(frozen=True)
class ExtractionResult(PreformattedText):
    """What a run of `bottleneck.extraction.extract.extract` did. `str` gives a summary.

    Attributes
    ----------
    cache : Cache
        The cache after the run.
    changes : ImageChanges
        How the images differ from those of the last run.
    rows : int
        Images that were encoded in this run.
    passes : int
        The same, each counted once for each view that was encoded.
    rejected : dict of int to str
        Rows without codes, and why. Those of the whole cache, or of several tasks' cache that is
        not complete, those of this task. Images that were removed are not among them.
    stats : RunStats
        The time of each stage, and the largest batch that fits into the device's memory.
    seconds : float
        Duration of the run.
    startup : float
        Seconds of it before the first image: importing PyTorch, listing the images, loading the
        network.
    task : ArrayTask
        Which part of the cache's shards the run was for.
    others : OtherTasks
        The layers of the run, and what other tasks had made of them when it ended.
    images : SourceSummary
        What was found in the source of the images.
    duplicates : Duplicates or None
        Images with the same bytes. None if nothing was encoded, or if shards of other tasks are
        missing.
    notes : tuple of str
        What the user may not expect, a sentence each: how the weights were loaded, the precision
        that the network needs, how a network of one channel is fed; empty if nothing was encoded.

    Examples
    --------
    >>> import bottleneck as bn  # doctest: +SKIP
    >>> result = bn.extract(
    ...     "photos", "photos.cache", model="resnet50", layers="layer3"
    ... )  # doctest: +SKIP
    >>> result.rows, result.rejected  # doctest: +SKIP
    (397, {12: 'cannot be decoded: the file is empty'})
    """

    cache: Cache
    changes: ImageChanges
    rows: int
    passes: int
    rejected: dict[int, str]
    stats: RunStats
    seconds: float
    startup: float
    task: ArrayTask
    others: OtherTasks
    images: SourceSummary
    duplicates: Duplicates | None
    notes: tuple[str, ...] = ()

    @property
    def shards(self) -> range:
        """The shards that the run was for."""
        return self.task.shards(self.cache.shard_count)

    def to_dict(self) -> dict[str, Any]:
        """Return the result as plain values, as `bottleneck extract` prints them in JSON.

        The status is that of this run's shards; only ``complete`` and ``missing_shards`` are about
        all shards.
        """
        status = self._status().to_dict()
        series = {*self.cache.series, *self.others.series}
        return status | {
            "complete": status["complete"] and self.cache.is_full(series),
            "task": [self.task.index, self.task.count],
            "task_variables": list(self.task.variables),
            "missing_shards": len(self.others.missing),
            "encoded": self.rows,
            "passes": self.passes,
            "changes": {
                "added": self.changes.added,
                "changed": self.changes.changed,
                "removed": self.changes.removed,
            },
            "rejected": {self.cache.images.path[row]: why for row, why in self.rejected.items()},
            "images": self.images.to_dict(),
            "duplicates": self.duplicates.to_dict() if self.duplicates else None,
            "seconds": self.seconds,
            "startup_seconds": self.startup,
            "shares": self.stats.timer.fractions(*STAGES),
            "notes": list(self.notes),
        }

    def __str__(self) -> str:
        images = self.cache.images
        rejected = {images.path[row]: why for row, why in self.rejected.items()}
        status = replace(self._status(), rejected=rejected)
        lines = [
            *self._changes_text(),
            str(status),
            *self._task_text(),
            *filter(None, [str(self.duplicates or "")]),
            "",
            *self._time_text(),
        ]
        return "\n".join(lines)

    def _status(self) -> CacheStatus:
        # A task without shards begins none of its layers.
        layers = sorted({*self.cache.layers, *self.others.layers})
        return self.cache.status(layers, shards=self.shards)

    def _changes_text(self) -> list[str]:
        changes, lines = self.changes, []
        if changes:
            lines.append(
                f"images: {changes.added} added, {changes.changed} changed, {changes.removed} "
                "removed since the last run"
            )
        if changes.touched:
            lines.append(f"images of another time and the same bytes: {changes.touched}, unchanged")
        return lines

    def _task_text(self) -> list[str]:
        if self.task.count == 1:
            return []
        count = f"{len(self.shards)} of {self.cache.shard_count} shards"
        lines = [f"of task {self.task}, which has {count}: `bottleneck status` has all"]
        missing, task = self.others.missing, self.task
        if not missing:
            return [*lines, "no shard of the cache is missing"]
        pending = pending_by_task(missing, task.count)
        make = "task" if len(pending) == 1 else "tasks"
        lines.append(
            f"the cache lacks {len(missing)} of {self.cache.shard_count} shards, to be made "
            f"by {make} {array_expression(pending)} of {task.count}: `bottleneck status` with "
            f"`tasks={task.count}` names those that are left"
        )
        if task.variables and not self.others.begun:
            # The likely mistake: the elements of the array are not parts of one extraction.
            layers = escape_unprintable(", ".join(self.others.layers))
            lines.append(
                f"no other task has written a shard of {layers} here yet: if each one has a cache "
                "or layers of its own, all of them need `task='all'`"
            )
        return lines

    def _time_text(self) -> list[str]:
        if not self.rows:
            # Skipped images are always reported.
            found = [str(self.images)] if self.images.notes.lost_images else []
            return [*found, f"{self._nothing_text()} ({self.seconds:.1f} s)"]
        parts = self.stats.timer.fractions(*STAGES)
        images = format_count(self.rows, "image")
        views = f"{format_count(self.passes, 'view')} of " if self.passes > self.rows else ""
        seconds = self.seconds - self.startup
        rate = self.passes / seconds
        lines = [
            f"encoded {views}{images} in {seconds:.1f} s ({rate:.{1 if rate < 10 else 0}f} "
            f"{'views' if views else 'images'}/s), and {self.startup:.1f} s to start",
            "time: " + ", ".join(f"{stage} {part:.0%}" for stage, part in parts.items()),
            stage_advice(slowest_stage(self.stats.timer)),
        ]
        if limit := self.stats.max_batch_size:
            lines.append(
                f"memory: the device holds {limit} images at a time, larger batches were divided: "
                f"`batch_size={limit}` saves the attempt"
            )
        return lines

    def _nothing_text(self) -> str:
        if missing := len(self.others.missing):
            return f"nothing left for this task; other tasks' shards are missing: {missing}"
        if len(self.rejected) == self.images.images + self.images.missing:
            return "nothing to do: none of the images gives codes"
        return "nothing to do: every code is in the cache"


@dataclass(frozen=True)
class RepairResult(PreformattedText):
    """What a repair found and made again. `str` gives a line per file.

    Attributes
    ----------
    problems : sequence of Problem
        What failed its checks before the repair.
    extraction : ExtractionResult
        The run that made it again.

    Examples
    --------
    >>> import bottleneck as bn  # doctest: +SKIP
    >>> result = bn.repair("photos.cache", "photos")  # doctest: +SKIP
    >>> [problem.file for problem in result.problems], result.extraction.rows  # doctest: +SKIP
    (['codes/layer3/00000.h5'], 398)
    """

    problems: Sequence[Problem]
    extraction: ExtractionResult

    @property
    def cache(self) -> Cache:
        """The cache after the repair."""
        return self.extraction.cache

    def to_dict(self) -> dict[str, Any]:
        """Return the result as plain values."""
        return {
            "repaired": [{"file": bad.file, "why": bad.why} for bad in self._repaired()],
            "extraction": self.extraction.to_dict(),
        }

    def __str__(self) -> str:
        lines = [f"repaired: {bad.file}: {bad.why}" for bad in self._repaired()]
        return "\n".join([*lines, f"{format_count(self.extraction.rows, 'image')} encoded again"])

    def _repaired(self) -> list[Problem]:
        # A file that does not belong to the cache is left alone.
        return [bad for bad in self.problems if not bad.layer or bad.shard is not None]
