"""What a running extraction reports, and its result."""

import html
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from bottleneck.cache import Cache, ImageChanges, Problem
from bottleneck.extraction.advice import stage_advice
from bottleneck.extraction.disk_space import DiskEstimate
from bottleneck.runtime import ArrayTask, RunStats, slowest_stage

_STAGES = ("read", "decode", "forward", "write")


@dataclass(frozen=True)
class Progress:
    """How far an extraction has come.

    Attributes
    ----------
    done, total : int
        Images that were encoded in this run, and that are to be encoded.
    stats : RunStats
        The time of each stage so far.
    estimate : DiskEstimate
        What the run writes.
    notes : tuple of str
        What a user should know before the run.
    """

    done: int
    total: int
    stats: RunStats
    estimate: DiskEstimate
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class ExtractionResult:
    """What a run of `bottleneck.extraction.extract.extract` did. `str` gives a summary.

    Attributes
    ----------
    cache : Cache
        The cache after the run.
    changes : ImageChanges
        How the images differ from those of the last run.
    rows : int
        Images that were encoded in this run.
    rejected : dict of int to str
        Rows without codes, and why. Those of the whole cache, or of several tasks' cache that is
        not complete, those of this task.
    stats : RunStats
        The time of each stage, and the largest batch that fits into the device's memory.
    seconds : float
        Duration of the run.
    task : ArrayTask
        Which part of the cache's shards the run was for.
    """

    cache: Cache
    changes: ImageChanges
    rows: int
    rejected: dict[int, str]
    stats: RunStats
    seconds: float
    task: ArrayTask

    @property
    def shards(self) -> range:
        """The shards that the run was for."""
        return self.task.shards(self.cache.shard_count)

    def to_dict(self) -> dict[str, Any]:
        """Return the result as plain values, as `bottleneck extract` prints them in JSON.

        The status is that of this run's shards; only ``complete`` is about all shards.
        """
        status = self.cache.status(shards=self.shards).to_dict()
        return status | {
            "complete": status["complete"] and self.cache.is_full(status["layers"]),
            "task": [self.task.index, self.task.count],
            "encoded": self.rows,
            "changes": {
                "added": self.changes.added,
                "changed": self.changes.changed,
                "removed": self.changes.removed,
            },
            "rejected": {self.cache.images.path[row]: why for row, why in self.rejected.items()},
            "seconds": self.seconds,
            "shares": self.stats.timer.fractions(*_STAGES),
        }

    def __str__(self) -> str:
        images = self.cache.images
        rejected = {images.path[row]: why for row, why in self.rejected.items()}
        status = replace(self.cache.status(shards=self.shards), rejected=rejected)
        lines = [
            *self._changes_text(),
            str(status),
            *self._task_text(),
            "",
            *self._time_text(),
        ]
        return "\n".join(lines)

    def _changes_text(self) -> list[str]:
        changes, lines = self.changes, []
        if changes:
            lines.append(
                f"images: {changes.added} added, {changes.changed} changed, {changes.removed} "
                "removed since the last run"
            )
        if changes.touched:
            lines.append(
                f"images of another time and the same bytes: {changes.touched}; their codes stay"
            )
        return lines

    def _task_text(self) -> list[str]:
        if self.task.count == 1:
            return []
        count = f"{len(self.shards)} of {self.cache.shard_count} shards"
        return [f"of task {self.task}, which has {count}: `bottleneck status` has all"]

    def _time_text(self) -> list[str]:
        if not self.rows:
            return [f"nothing to do: every code is in the cache ({self.seconds:.1f} s)"]
        parts = self.stats.timer.fractions(*_STAGES)
        lines = [
            f"encoded {self.rows} images in {self.seconds:.1f} s "
            f"({self.rows / self.seconds:.0f} images/s)",
            "time: " + ", ".join(f"{stage} {part:.0%}" for stage, part in parts.items()),
            stage_advice(slowest_stage(self.stats.timer)),
        ]
        if limit := self.stats.max_batch_size:
            lines.append(
                f"memory: the device holds {limit} images at a time, larger batches were divided: "
                f"`batch_size={limit}` saves the attempt"
            )
        return lines

    def _repr_html_(self) -> str:
        return f"<pre>{html.escape(str(self))}</pre>"


@dataclass(frozen=True)
class RepairResult:
    """What a repair found and made again. `str` gives a line per file.

    Attributes
    ----------
    problems : sequence of Problem
        What failed its checks before the repair.
    extraction : ExtractionResult
        The run that made it again.
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
        return "\n".join([*lines, f"{self.extraction.rows} images encoded again"])

    def _repaired(self) -> list[Problem]:
        # A file that does not belong to the cache is left alone.
        return [bad for bad in self.problems if not bad.layer or bad.shard is not None]

    def _repr_html_(self) -> str:
        return f"<pre>{html.escape(str(self))}</pre>"
