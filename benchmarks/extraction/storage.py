"""Measure what writing shards adds to an extraction, and how fast a cache is read back."""

import functools
import tempfile
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
from numpy.typing import NDArray

from benchmarks.extraction.stages import Job, end_to_end
from benchmarks.fitting.out_of_core import make_cache
from benchmarks.helpers.interleave import interleave, median, ratio
from benchmarks.helpers.log import log_row
from benchmarks.helpers.synthetic_images import write_jpegs
from benchmarks.profiles import FULL_EXTRACTION, ExtractionProfile
from bottleneck.backbones.backbone import build_skeleton
from bottleneck.backbones.layers.listing import list_layers, select_layers
from bottleneck.cache.format.shard import open_shard
from bottleneck.cache.store import Cache, open_cache
from bottleneck.fitting.loading.features import Features
from bottleneck.fitting.loading.sharded_matrix import open_matrix
from bottleneck.linear.matrix import CodeMatrix

_MODEL, _LAYER = "squeezenet1_0", "features.12"


def writing(profile: ExtractionProfile = FULL_EXTRACTION) -> str:
    """Compare runs that write shards with runs that discard the same codes."""
    lines = [
        f"{_MODEL}, {_LAYER}, float32 codes stored as float16, {profile.written} generated JPEGs "
        f"of 500 × 375, each pair in turns, medians of {profile.turns}. Thrown away: the same "
        "pipeline, its `write_shard` replaced by nothing.",
        "",
        "| pool | KiB an image | with shards, s | thrown away, s | ratio |",
        "|---|---|---|---|---|",
    ]
    with tempfile.TemporaryDirectory() as place:
        images = Path(place) / "images"
        write_jpegs(images, profile.written)
        for pool in ("avg", "none"):
            job = Job(
                _MODEL, (_LAYER,), pool=pool, batch=profile.batch, transform=profile.transform
            )
            _without_writing(job, images)  # warm-up
            found = interleave(
                {
                    "kept": functools.partial(_with_writing, job, images),
                    "thrown": functools.partial(_without_writing, job, images),
                },
                profile.turns,
            )
            kept, thrown = found["kept"], found["thrown"]
            lines.append(
                f"| {pool} | {_code_bytes(job) / 1024:.1f} | {median(kept):.2f} "
                f"| {median(thrown):.2f} | {ratio(kept, thrown):.3f} |"
            )
            log_row(lines[-1])
    return "\n".join(lines)


def reading(profile: ExtractionProfile = FULL_EXTRACTION) -> str:
    """Compare reading all codes of a layer as `fit` does with numpy.fromfile of the same bytes."""
    n, d = profile.read
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        make_cache(place / "cache", n=n, d=d, classes=10)
        cache = open_cache(place / "cache")
        (layer,) = cache.layers
        with (place / "plain").open("wb") as plain:
            for shard in range(cache.shard_count):
                plain.write(cache.read_checked(layer, shard).tobytes())
        rows = np.flatnonzero(cache.valid_rows(layer))
        budget = 4 * n * d  # bytes of the codes alone, which is too little to train in memory
        again = open_matrix(cache, Features((layer,)), rows, memory=budget)
        things: dict[str, Callable[[], float]] = {
            "numpy.fromfile": lambda: _timed(lambda: _from_file(place / "plain")),
            "shards in blocks of 1024 rows, as they are stored": lambda: _timed(
                lambda: _stored_codes(cache, layer)
            ),
            "numpy.fromfile, then float32": lambda: _timed(
                lambda: _from_file(place / "plain").astype(np.float32)
            ),
            "into memory, checked": lambda: _timed(
                lambda: open_matrix(cache, Features((layer,)), rows, memory=64 * budget)
            ),
            "in blocks, checked": lambda: _timed(
                lambda: _read_blocks(open_matrix(cache, Features((layer,)), rows, memory=budget))
            ),
            "in blocks, not checked again": lambda: _timed(lambda: _read_blocks(again)),
        }
        interleave(things, 1)  # the files are in the system's memory from here on
        found = interleave(things, profile.turns)
    plain_seconds = found["numpy.fromfile"]
    return "\n".join(
        [
            f"{n} × {d} codes in float16 shards; files in the system's memory; medians of "
            f"{profile.turns} turns. The last three are what `fit` does, in float32: blocks are "
            "read ahead while the ones before are used, and checked against their digests in the "
            "first pass only.",
            "",
            "| how | seconds | GB/s of stored bytes | numpy.fromfile's time over it |",
            "|---|---|---|---|",
            *(
                f"| {what} | {median(seconds):.3f} | {2e-9 * n * d / median(seconds):.2f} "
                f"| {ratio(plain_seconds, seconds):.2f} |"
                for what, seconds in found.items()
            ),
        ]
    )


def _timed(read: Callable[[], object]) -> float:
    start = time.perf_counter()
    read()
    return time.perf_counter() - start


def _from_file(path: Path) -> NDArray[Any]:
    return np.fromfile(path, dtype=np.float16)


def _stored_codes(cache: Cache, layer: str) -> None:
    for shard in range(cache.shard_count):
        with open_shard(cache.shard_path(layer, shard)) as opened:
            deque(opened.blocks(1024), maxlen=0)


def _read_blocks(codes: CodeMatrix) -> None:
    """Read all rows once, as an epoch of out-of-core training does."""
    for _ in codes.blocks():
        pass


def _with_writing(job: Job, images: Path) -> float:
    return end_to_end(job, images).seconds


def _without_writing(job: Job, images: Path) -> float:
    with patch("bottleneck.extraction.running.pipeline.write_shard"):
        return end_to_end(job, images).seconds


def _code_bytes(job: Job) -> int:
    network, transform = build_skeleton(job.model, "none")
    (layer,) = select_layers(
        list_layers(network, job.transform.get("crop", transform.crop)), job.layers
    )
    return 2 * layer.code_size(job.pool)
