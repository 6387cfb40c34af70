"""The plan of an extraction: its shards, their size on disk, and the time that tasks take."""

import math
from dataclasses import dataclass
from typing import Any

from bottleneck.data import SourceSummary
from bottleneck.extraction.planning.disk_space import LayerEstimate
from bottleneck.extraction.planning.limiting_stage import stage_advice
from bottleneck.runtime import (
    PreformattedText,
    format_count,
    format_duration,
    format_shape,
    format_size,
    format_table,
)

_HOUR, _DAY = 3600.0, 86_400.0
_MAX_IDLE = 0.2  # share of the time of all tasks above which the plan advises another shard size
_MANY_FILES = 100_000  # per layer
_FEW_FILES = 20_000  # per layer: as many as any disk lists in a moment
_LARGE_SHARD = 1 << 30  # bytes: what a reader may have to check before it has the first row


@dataclass(frozen=True)
class Throughput:
    """How fast this machine encodes images.

    Attributes
    ----------
    images : int
        Images that were encoded, with all their views.
    seconds : float
        Seconds that this took.
    startup : float
        Seconds before the first image: importing PyTorch, listing the images, loading the network.
    slowest_stage : str
        The stage that limits it: ``"read"``, ``"decode"`` or ``"forward"``.

    Examples
    --------
    >>> Throughput(images=300, seconds=2.0, startup=4.0, slowest_stage="decode").rate
    150.0
    """

    images: int
    seconds: float
    startup: float
    slowest_stage: str

    @property
    def rate(self) -> float:
        """Images per second."""
        return self.images / self.seconds


@dataclass(frozen=True)
class ExtractionPlan(PreformattedText):
    """What an extraction would write, and how long it would take on machines like this one.

    `str` gives a table and the advice.

    Attributes
    ----------
    rows : int
        Images.
    shard_size : int
        Rows per shard.
    tasks : int
        Tasks that share the shards.
    layers : dict of str to LayerEstimate
        What each layer takes on the disk, by name.
    throughput : Throughput
        Measured speed of one task.
    images : SourceSummary
        What was found in the source of the images.
    notes : tuple of str
        What was chosen that the user may not expect, a sentence each.
    views : int
        Views of each image, each of which is a forward pass.

    Examples
    --------
    >>> from bottleneck.data import SourceNotes
    >>> layer = LayerEstimate.from_shards((512,), "float16", {4096: 2, 1000: 1}, 80)
    >>> speed = Throughput(images=300, seconds=2.0, startup=4.0, slowest_stage="decode")
    >>> found = SourceSummary(9192, 0, 5, 0, {"": 9192}, SourceNotes())
    >>> plan = ExtractionPlan(9192, 4096, 1, {"layer4": layer}, speed, found)
    >>> plan.shards, round(plan.seconds)
    (3, 65)
    """

    rows: int
    shard_size: int
    tasks: int
    layers: dict[str, LayerEstimate]
    throughput: Throughput
    images: SourceSummary
    notes: tuple[str, ...] = ()
    views: int = 1

    @property
    def shards(self) -> int:
        """Shards per layer and view."""
        return math.ceil(self.rows / self.shard_size)

    @property
    def bytes(self) -> int:
        """Bytes that all shards take on the disk, at most: uncompressed."""
        return sum(layer.bytes for layer in self.layers.values())

    @property
    def shard_bytes(self) -> int:
        """Bytes of a full shard at the layer with the largest codes."""
        return max(layer.largest_shard for layer in self.layers.values())

    @property
    def max_shards_per_task(self) -> int:
        """Shards of the task that has the most."""
        return math.ceil(self.shards / self.tasks)

    @property
    def seconds(self) -> float:
        """Seconds that one task for all shards takes."""
        return self.throughput.startup + self.rows / self.throughput.rate

    @property
    def task_seconds(self) -> float:
        """Seconds that the task with the most shards takes."""
        rows = min(self.rows, self.max_shards_per_task * self.shard_size)
        return self.throughput.startup + rows / self.throughput.rate

    @property
    def shard_seconds(self) -> float:
        """Seconds of computation that a task loses at most if it is killed."""
        return self._rows_per_shard / self.throughput.rate

    @property
    def _rows_per_shard(self) -> int:
        return min(self.rows, self.shard_size)

    def advice(self) -> list[str]:
        """Return what would suit better, one sentence each; empty if the plan is good."""
        texts = (_task_advice(self), _time_advice(self), _shard_advice(self))
        return [text for text in texts if text]

    def to_dict(self) -> dict[str, Any]:
        """Return the plan as plain values, as `bottleneck plan` prints them in JSON."""
        return {
            "rows": self.rows,
            "views": self.views,
            "passes": self.rows * self.views,
            "shard_size": self.shard_size,
            "shards": self.shards,
            "shard_bytes": self.shard_bytes,
            "bytes": self.bytes,
            "layers": {
                name: {
                    "code_shape": list(layer.code_shape),
                    "row_bytes": layer.row_bytes,
                    "bytes": layer.bytes,
                }
                for name, layer in self.layers.items()
            },
            "tasks": self.tasks,
            "shards_a_task": self.max_shards_per_task,
            "images_a_second": self.throughput.rate,
            "limit": self.throughput.slowest_stage,
            "startup_seconds": self.throughput.startup,
            "seconds": self.seconds,
            "task_seconds": self.task_seconds,
            "advice": self.advice(),
            "images": self.images.to_dict(),
            "notes": list(self.notes),
        }

    def __str__(self) -> str:
        measured = self.throughput
        passes = f"{self.views} views of each, {self.rows * self.views} forward passes, "
        views, of_view = (passes, " for each view") if self.views > 1 else ("", "")
        of_code = "bytes/view" if self.views > 1 else "bytes/image"
        lines = [
            str(self.images),
            f"{format_count(self.rows, 'image')}, {views}shards a layer: {self.shards}{of_view}, "
            f"of up to {self.shard_size} rows and {format_size(self.shard_bytes)}",
            format_table(
                ["layer", "code", of_code, "all"],
                (
                    [
                        name,
                        format_shape(layer.code_shape),
                        format_size(layer.row_bytes),
                        format_size(layer.bytes),
                    ]
                    for name, layer in self.layers.items()
                ),
            ),
            f"{format_size(self.bytes)} in all, uncompressed",
            "",
            f"measured here on {format_count(measured.images, 'image')}: {measured.rate:.1f} "
            f"images/s, and {measured.startup:.1f} s to start; "
            f"{stage_advice(measured.slowest_stage)}",
            f"one task: {format_duration(self.seconds)}",
        ]
        if self.tasks > 1:
            lines.append(
                f"{self.tasks} tasks on machines like this one: "
                f"{format_duration(self.task_seconds)}, "
                f"the one with the most shards ({self.max_shards_per_task})"
            )
        return "\n".join([*self.notes, *lines, *(f"advice: {text}" for text in self.advice())])


def _task_advice(plan: ExtractionPlan) -> str:
    if plan.tasks > plan.shards:
        even = math.ceil(plan.rows / plan.tasks)
        smaller = f", or `shard_size={even}`" if even < plan.shard_size else ""
        return (
            f"{plan.tasks - plan.shards} of {plan.tasks} tasks have no shard: use "
            f"{plan.shards}{smaller}"
        )
    # The others wait for the task that has one shard more.
    idle = 1 - plan.shards / (plan.max_shards_per_task * plan.tasks)
    if idle > _MAX_IDLE:
        size = math.ceil(plan.rows / (plan.tasks * plan.max_shards_per_task))
        return (
            f"some tasks have {plan.max_shards_per_task} shards and some "
            f"{plan.max_shards_per_task - 1}, so that {idle:.0%} of the time is lost: "
            f"`shard_size={size}` divides the work evenly"
        )
    return ""


def _time_advice(plan: ExtractionPlan) -> str:
    startup = plan.throughput.startup
    encoding = plan.task_seconds - startup
    if plan.tasks > 1 and startup > encoding:
        fewer = max(1, int(plan.seconds / (10 * startup)))
        return (
            f"a task starts for {format_duration(startup)} and works for "
            f"{format_duration(encoding)}: use no more than {fewer}"
        )
    if plan.task_seconds > _DAY:
        more = math.ceil(plan.rows / plan.throughput.rate / (_DAY / 2))
        return f"a task takes more than a day: with {more} tasks it takes half of one"
    return ""


def _shard_advice(plan: ExtractionPlan) -> str:
    if plan.shard_seconds > _HOUR and plan.shard_size > 1:
        size = max(1, int(plan.throughput.rate * _HOUR / 4))
        return (
            f"a task that is killed loses up to {format_duration(plan.shard_seconds)}: "
            f"`shard_size={size}` makes that a quarter of an hour"
        )
    largest = max(layer.row_bytes for layer in plan.layers.values())
    size = min(math.ceil(plan.rows / _FEW_FILES), _LARGE_SHARD // largest)
    if plan.shards > _MANY_FILES and size > plan.shard_size:
        files = math.ceil(plan.rows / size)
        return f"{plan.shards} files a layer are many: `shard_size={size}` makes {files}"
    return ""
