"""A trial: a cache that something happens to, and what must be so afterwards."""

import csv
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from bottleneck.cache.format.manifest import is_cache
from bottleneck.cache.store import open_cache
from bottleneck.cache.verify import verify
from tests.faults.child import Fault, printed, run, steps
from tests.helpers.networks import NETWORKS
from tests.helpers.photographs import write_photographs

LAYERS = ("layer2", "layer3")


@dataclass(frozen=True)
class Workshop:
    """Images, and the cache that an undisturbed run makes of them.

    Attributes
    ----------
    place : Path
        A folder that anybody may read.
    steps : int
        By how many calls an undisturbed run may change the disk.
    seconds : float
        That it takes.
    """

    place: Path
    steps: int
    seconds: float

    @property
    def images(self) -> Path:
        """Their folder."""
        return self.place / "photos"

    @property
    def reference(self) -> Path:
        """The undisturbed cache."""
        return self.place / "reference"

    def command(self, cache: Path, *more: object) -> list[object]:
        """The extraction that every trial is about."""
        return extraction(self.images, cache, *more)


def extraction(images: Path, cache: Path, *more: object) -> list[object]:
    layers = [part for layer in LAYERS for part in ("--layer", layer)]
    return [
        *("extract", images, "-o", cache, "--model", f"{NETWORKS}:plain", *layers),
        *("--resize", 32, "--crop", 32, "--shard-size", 4, "--batch-size", 3),
        *("--precision", "float32", "--dtype", "float32", "--device", "cpu", *more),
    ]


@contextmanager
def open_workshop(count: int = 12) -> Iterator[Workshop]:
    """Three classes of `count` photographs, some of which are none, and their cache."""
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        place.chmod(0o755)
        for k, label in enumerate(("ants", "bees", "wasps")):
            write_photographs(place / "photos" / label, count, label=label, first_seed=100 * k)
        (place / "photos" / "bees" / "broken.jpg").write_bytes(b"no image")
        (place / "photos" / "wasps" / "empty.png").touch()
        taken = []
        for turn in ("warm", "reference"):  # the first one waits for the server as well
            start = time.monotonic()
            code = run(extraction(place / "photos", place / turn), place / "said")
            assert code == 0, printed(place / "said")
            taken.append(time.monotonic() - start)
        yield Workshop(place, steps(place / "said"), taken[-1])


@dataclass(frozen=True)
class Trial:
    """One cache of its own."""

    workshop: Workshop
    cache: Path

    def run(self, fault: Fault | None = None, *more: object) -> int:
        """Run the extraction, or what is left of it."""
        return run(self.workshop.command(self.cache, *more), self.said, fault)

    @property
    def said(self) -> Path:
        """Where a child's outputs lie."""
        return self.cache.with_suffix(".said")

    def require_truth(self) -> None:
        """What stands now can be opened, and says of itself what is so."""
        if not is_cache(self.cache):
            return
        assert {bad.why for bad in verify(self.cache)} <= {"missing"}
        cache = open_cache(self.cache)
        for layer, status in cache.status().layers.items():
            whole = {path.name for path in cache.folder(layer).glob("[0-9]*.h5")}
            assert len(whole) == len(cache.finished_shards(layer))
            assert status.done + status.rejected + status.missing == len(cache.images)

    def require_completion(self) -> None:
        """The next run completes it, equal to the undisturbed one, and leaves nothing behind."""
        self.require_truth()
        assert self.run() == 0, printed(self.said)
        require_same(self.cache, self.workshop.reference)


@contextmanager
def a_trial(workshop: Workshop) -> Iterator[Trial]:
    """A cache that is not there yet, and is not there afterwards."""
    with tempfile.TemporaryDirectory(dir=workshop.place) as name:
        Path(name).chmod(0o777)
        yield Trial(workshop, Path(name) / "cache")


def require_same(cache: Path, reference: Path) -> None:
    """Two caches hold the same rows, rejections and codes, by csv and h5py alone."""
    for name in ("images.csv", "rejected.csv"):
        assert table(cache / name) == table(reference / name), name
    mine, theirs = codes(cache), codes(reference)
    assert mine.keys() == theirs.keys()
    for name, values in theirs.items():
        np.testing.assert_array_equal(mine[name], values, name)
    assert not list(cache.rglob(".*")), "something was left behind"


def table(path: Path) -> list[list[str]]:
    with path.open(newline="", encoding="utf-8", errors="surrogateescape") as file:
        return list(csv.reader(file))


def codes(cache: Path) -> dict[str, NDArray[Any]]:
    with h5py.File(cache / "codes.h5", locking=False) as file:
        return {name: file[name][...] for name in file}


def copy(reference: Path, cache: Path) -> Path:
    return Path(shutil.copytree(reference, cache))
