"""Compare training under a small memory budget with training on all codes in memory."""

import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.helpers.isolated_process import run_isolated
from benchmarks.profiles import FULL_FITTING, FittingProfile
from bottleneck.cache.format.manifest import Manifest, StorageLayout, manifest_text
from bottleneck.cache.format.shard import ShardData
from bottleneck.cache.format.shard_writer import write_shard
from bottleneck.cache.store import Cache
from bottleneck.data.table.image_table import ImageTable
from bottleneck.fitting.heads.head import Head
from bottleneck.input_transform import InputTransform
from bottleneck.model_reference import ModelReference
from bottleneck.spec import Spec

_SIX = (256, 512, 640, 640, 1024, 1024)  # sizes of six layers, 4096 values in all
_SPEC = Spec(
    "generated", "0" * 64, InputTransform(decoder="none"), "float32", relu=True, pool="avg"
)


@dataclass(frozen=True)
class Run:
    """Seconds, peak resident bytes and head of one `bottleneck fit`."""

    seconds: float
    peak: int
    head: Head


def make_cache(
    path: Path, *, n: int, d: int, classes: int, shard_size: int = 4096, sizes: Sequence[int] = ()
) -> None:
    """Write a cache of generated codes: class means plus heavy-tailed noise, then a ReLU.

    Its layers have these sizes, d in all; one layer unless given.
    """
    random = np.random.default_rng(0)
    means = 0.2 * random.standard_t(3, (classes, d)).astype(np.float32)
    cache = begin_cache(path, np.arange(n) % classes, shard_size=shard_size)
    bounds = np.cumsum([0, *(sizes or [d])])
    for shard in range(cache.shard_count):
        rows = np.array(cache.rows(shard))
        noise = random.standard_normal((len(rows), d), dtype=np.float32)
        noise *= np.sqrt(3 / random.chisquare(3, (len(rows), 1))).astype(np.float32)
        codes = np.maximum(means[rows % classes] + noise, 0)
        for i, (start, stop) in enumerate(pairwise(bounds.tolist())):
            write_rows(cache, f"layer{i}", shard, rows, codes[:, start:stop])


def begin_cache(path: Path, classes: NDArray[np.int64], *, shard_size: int = 4096) -> Cache:
    """Write a cache that has images of these classes, and no codes yet."""
    labels = [f"{number:03d}" for number in classes]
    paths = [f"{label}/{row:07d}.jpg" for row, label in enumerate(labels)]
    none, numbers = [""] * len(labels), np.zeros(len(labels), dtype=np.int64)
    images = ImageTable(paths, labels, none, none, numbers, numbers)
    layout = StorageLayout("float16", shard_size, "none")
    manifest = Manifest(_SPEC, layout, ModelReference("generated", "none"), cache_id="generated")
    path.mkdir(parents=True)
    (path / "spec.json").write_text(manifest_text(manifest))
    images.write_csv(path / "images.csv")
    return Cache(path, manifest, images)


def write_rows(
    cache: Cache, layer: str, shard: int, rows: NDArray[np.int64], codes: NDArray[np.float32]
) -> None:
    """Write the codes of one shard."""
    block, empty = slice(rows[0], rows[-1] + 1), [""] * len(rows)
    content = ShardData(
        codes=codes,
        row=rows,
        path=cache.images.path[block],
        label=cache.images.label[block],
        valid=np.ones(len(rows), dtype=bool),
        reason=empty,
        image_sha256=empty,
    )
    path = cache.shard_path(layer, shard)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_shard(path, content, manifest=cache.manifest, series=layer)


def run_fit(cache: Path, clf: str, *, memory: str, c: float) -> Run:
    """Run `bottleneck fit` in its own process, so that its memory can be measured."""
    head = cache.parent / f"{clf}-{memory}.safetensors"
    program = str(Path(sys.executable).with_name("bottleneck"))
    command = [program, "fit", str(cache), "--clf", clf, "--layer", "all"]
    command += ["--c", str(c), "--cv", "0", "--memory", memory, "-o", str(head)]
    seconds, peak = run_isolated(command)
    return Run(seconds, peak, Head.load(head))


def markdown(
    *,
    n: int = 100_000,
    d: int = 2048,
    classes: int = 100,
    c: float = 1e-3,
    sizes: Sequence[int] = (),
    memory: str = "1G",
) -> str:
    """Return a table: the same training under a budget and with all codes in memory."""
    layers = f" of {len(sizes)} layers" if sizes else ""
    lines = [
        f"{n} × {d} codes{layers} of {classes} classes in float16 shards, C = {c:g}, standardised, "
        "no cross-validation; each `bottleneck fit` in a process of its own.",
        "",
        f"| classifier | seconds, {memory} | seconds, in memory | peak MiB, {memory} "
        "| peak MiB, in memory | coefficients differ by |",
        "|---|---|---|---|---|---|",
    ]
    with tempfile.TemporaryDirectory() as folder:
        cache = Path(folder) / "cache"
        make_cache(cache, n=n, d=d, classes=classes, sizes=sizes)
        for clf in ("softmax", "svm"):
            small = run_fit(cache, clf, memory=memory, c=c)
            large = run_fit(cache, clf, memory="64G", c=c)
            apart = np.linalg.norm(small.head.coef - large.head.coef)
            lines.append(
                f"| {clf} | {small.seconds:.1f} | {large.seconds:.1f} | {small.peak / 2**20:.0f} "
                f"| {large.peak / 2**20:.0f} | {apart / np.linalg.norm(large.head.coef):.1e} |"
            )
    return "\n".join(lines)


def at_size(profile: FittingProfile) -> str:
    """Run `markdown` at full or toy size, for one layer and for several."""
    if profile == FULL_FITTING:
        return f"{markdown()}\n\n{of_six_layers()}"
    return markdown(n=600, d=32, classes=5, sizes=(12, 20))


def of_six_layers() -> str:
    """Compare them for six layers side by side, of 4096 values."""
    return markdown(d=sum(_SIX), sizes=_SIX, memory="2G")


if __name__ == "__main__":
    print(markdown(), of_six_layers(), sep="\n\n")
