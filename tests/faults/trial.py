"""A trial: a cache that something happens to, and what must be so afterwards."""

import csv
import os
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
from tests.helpers.forked import start_server
from tests.helpers.networks import NETWORKS
from tests.helpers.photographs import photograph, write_photographs

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
    images : Path
        The folder of the images.
    before : Path or None
        A cache of these images as they were before, which every trial begins with.
    options : tuple
        Of the extraction, beside those that all have.
    """

    place: Path
    steps: int
    seconds: float
    images: Path
    before: Path | None = None
    options: tuple[object, ...] = ()

    @property
    def reference(self) -> Path:
        """The undisturbed cache."""
        return self.place / "reference"

    def command(self, cache: Path, *more: object) -> list[object]:
        """The extraction that every trial is about."""
        return extraction(self.images, cache, *self.options, *more)


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
        images = place / "photos"
        for k, label in enumerate(("ants", "bees", "wasps")):
            write_photographs(images / label, count, label=label, first_seed=100 * k)
        (images / "bees" / "broken.jpg").write_bytes(b"no image")
        (images / "wasps" / "empty.png").touch()
        start_server()  # its start is not the run's time
        yield Workshop(place, *_undisturbed(images, place / "reference"), images)


def update_workshop(old: Workshop) -> Workshop:
    """The same photographs after some were changed, added and removed, and their updated cache."""
    place = old.place / "update"
    images = Path(shutil.copytree(old.images, place / "photos"))
    for k, label in enumerate(("ants", "bees", "wasps")):
        first, touched, removed, *_ = sorted((images / label).iterdir())
        photograph(900 + k, label).save(first)
        os.utime(touched, (k, k))  # another time, the same bytes
        removed.unlink()
        photograph(950 + k, label).save(images / label / "added.png")
    photograph(990, "bees").save(images / "bees" / "broken.jpg")  # is an image now
    (images / "ants" / "lost.png").touch()
    updated = copy(old.reference, place / "reference")
    found = _undisturbed(images, updated)
    _undisturbed(images, place / "at once")
    assert _valid_codes(updated) == _valid_codes(place / "at once")
    return Workshop(place, *found, images, before=old.reference)


def views_workshop(old: Workshop) -> Workshop:
    """The same photographs, and their cache after two views of each were added."""
    place, options = old.place / "views", ("--views", 3)
    found = _undisturbed(old.images, copy(old.reference, place / "reference"), *options)
    return Workshop(place, *found, old.images, old.reference, options)


def _undisturbed(images: Path, cache: Path, *options: object) -> tuple[int, float]:
    """Extract without a fault; how many steps and seconds it took."""
    said, start = cache.with_name("said"), time.monotonic()
    assert run(extraction(images, cache, *options), said) == 0, printed(said)
    return steps(said), time.monotonic() - start


def _valid_codes(cache: Path) -> dict[tuple[str, str], bytes]:
    """Return the codes of each image that may be used, by layer and path, by csv and h5py alone."""
    paths, found = [line[0] for line in table(cache / "images.csv")[1:]], codes(cache)
    return {
        (layer, path): found[layer][row].tobytes()
        for layer in LAYERS
        for row, path in enumerate(paths)
        if found[f"{layer}:valid"][row]
    }


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
        before = self.workshop.before
        if before:
            _require_old_or_new(self.cache, before, self.workshop.reference)
        else:
            assert {bad.why for bad in verify(self.cache)} <= {"missing"}
        cache = open_cache(self.cache)
        for layer, status in cache.status().layers.items():
            whole = {path.name for path in cache.folder(layer).glob("[0-9]*.h5")}
            assert before or len(whole) == len(cache.finished_shards(layer))
            assert status.done + status.rejected + status.missing == len(cache.images)

    def require_completion(self) -> None:
        """The next run completes it, equal to the undisturbed one, and leaves nothing behind."""
        self.require_truth()
        assert self.run() == 0, printed(self.said)
        require_same(self.cache, self.workshop.reference)


@contextmanager
def a_trial(workshop: Workshop) -> Iterator[Trial]:
    """A cache that is not there yet, or as it was before; it is not there afterwards."""
    with tempfile.TemporaryDirectory(dir=workshop.place) as name:
        Path(name).chmod(0o777)
        trial = Trial(workshop, Path(name) / "cache")
        if workshop.before:
            copy(workshop.before, trial.cache)
        yield trial


def _require_old_or_new(cache: Path, before: Path, reference: Path) -> None:
    """No shard is lost: each that there was is there, with its old codes or its new ones."""
    for old in before.rglob("[0-9]*.h5"):
        name = old.relative_to(before)
        allowed = [_shard_codes(old), _shard_codes(reference / name)]
        assert _shard_codes(cache / name) in allowed, name


def _shard_codes(path: Path) -> bytes:
    with h5py.File(path, locking=False) as file:
        return bytes(file["codes"][...].tobytes())


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
