"""Whatever happens to images and cache, codes are those of the present images."""

import os
import shutil
import tempfile
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from bottleneck.cache.format.series import Series
from bottleneck.cache.store import open_cache
from bottleneck.cache.verify import verify
from bottleneck.extraction.extract import extract
from bottleneck.extraction.repair import repair
from bottleneck.extraction.result import ExtractionProgress, ExtractionResult
from bottleneck.runtime.schedulers.array_task import ArrayTask
from tests.helpers.cli import expected_codes
from tests.helpers.networks import PLAIN, SMALL
from tests.helpers.options import grouped
from tests.helpers.photographs import photograph

_LAYERS, _VIEWS, _PICTURES = ("layer1", "layer2"), 3, 12
_NO_IMAGE = _PICTURES  # the number of a file that cannot be decoded
_TINY: dict[str, Any] = {
    "model": PLAIN,
    "transform": SMALL,
    "dtype": "float32",
    "shard_size": 4,
    "precision": "float32",
    "device": "cpu",
}


@dataclass(frozen=True)
class Pictures:
    """Files, the last of which is no image, and their codes in a cache that was made in one go."""

    files: Sequence[bytes]
    codes: dict[Series, NDArray[np.float32]]


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Pictures:
    folder = tmp_path_factory.mktemp("pictures")
    paths = [folder / f"{i:02d}.png" for i in range(_PICTURES)]
    for i, path in enumerate(paths):
        photograph(i).save(path)
    options = grouped(_TINY | {"layers": _LAYERS, "count": _VIEWS})
    cache = extract(folder, folder.with_name("whole"), **options).cache
    rows = np.arange(_PICTURES)
    codes = {each: cache.read_codes(each.layer, rows, each.view) for each in cache.series}
    np.testing.assert_allclose(codes[Series("layer2")], expected_codes(paths), rtol=1e-4, atol=1e-5)
    return Pictures([*(path.read_bytes() for path in paths), b"no image"], codes)


@dataclass
class Album:
    """A folder of images, its cache, and the number of the picture that each image shows."""

    pictures: Pictures
    folder: Path
    shown: dict[str, int] = field(default_factory=dict)
    removed: dict[str, int] = field(default_factory=dict)
    clock: int = 10**18

    @property
    def photos(self) -> Path:
        return self.folder / "photos"

    @property
    def cache(self) -> Path:
        return self.folder / "cache"

    # Edits; the first image is never moved or removed, as images of which the cache has none are
    # refused.

    def add(self, place: int, picture: int) -> None:
        self._write(f"{'ab'[place % 2]}/{place:02d}.png", picture)

    def change(self, place: int, picture: int) -> None:
        self._write(self._name(place), picture)

    def copy(self, place: int, picture: int) -> None:
        self._note_time(self._name(place))

    def remove(self, place: int, picture: int) -> None:
        if name := self._name(place, first=1):
            (self.photos / name).unlink()
            self.removed[name] = self.shown.pop(name)

    def restore(self, place: int, picture: int) -> None:
        """Bring a removed image back as it was."""
        if names := sorted(self.removed):
            name = names[place % len(names)]
            self._write(name, self.removed[name])

    def move(self, place: int, picture: int) -> None:
        if name := self._name(place, first=1):
            there = f"c/{name.rpartition('/')[2]}"
            (self.photos / "c").mkdir(exist_ok=True)
            (self.photos / name).rename(self.photos / there)
            self.shown[there] = self.shown.pop(name)

    def _name(self, place: int, first: int = 0) -> str:
        names = sorted(self.shown)[first:]
        return names[place % len(names)] if names else ""

    def _write(self, name: str, picture: int) -> None:
        path = self.photos / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(self.pictures.files[picture])
        self.shown[name] = picture
        self.removed.pop(name, None)
        self._note_time(name)

    def _note_time(self, name: str) -> None:
        self.clock += 10**9
        os.utime(self.photos / name, ns=(self.clock, self.clock))

    # Runs, each followed by what must hold

    def run_whole(self, layers: Sequence[str], views: int | None, number: int) -> None:
        self._extract(layers, views)
        self._require_present_codes()
        self._require_complete(layers, views)
        again = self._extract(layers, views)
        assert again.rows == again.passes == 0

    def run_tasks(self, layers: Sequence[str], views: int | None, number: int) -> None:
        """Two tasks of three, or all in an order of their own; others' shards stay as they are."""
        tasks = [(number + i) % 3 for i in range(2 + number % 2)]
        for index in tasks:
            self._extract(layers, views, task=ArrayTask(index, 3))
        self._require_present_codes(tasks)
        if len(tasks) == 3:
            self._require_complete(layers, views)

    def run_interrupted(self, layers: Sequence[str], views: int | None, number: int) -> None:
        calls = 0

        def interrupt(progress: object) -> None:
            nonlocal calls
            calls += isinstance(progress, ExtractionProgress)
            if calls > number:
                raise InterruptedError

        try:
            self._extract(layers, views, batch_size=1, on_progress=interrupt)
        except InterruptedError:
            self._require_present_codes()
        else:
            self._require_complete(layers, views)

    def damage_and_repair(self, layers: Sequence[str], views: int | None, number: int) -> None:
        self._extract(layers, views)
        files = sorted(path for path in self.cache.rglob("*") if path.is_file())
        damaged = files[number * 7 % len(files)]
        if number % 3:
            content = bytearray(damaged.read_bytes())
            content[len(content) * number // 10] ^= 0x10
            damaged.write_bytes(content)
        else:
            damaged.unlink()
        named = {problem.file for problem in verify(self.cache)}
        derived = damaged.name in ("codes.h5", "rejected.csv") and not number % 3
        assert derived or damaged.relative_to(self.cache).as_posix() in named
        if len(files) > 4 or damaged.suffix != ".h5":  # else there is nothing to repair it from
            repair(self.cache, self.photos)
            self._require_present_codes()
        else:
            shutil.rmtree(self.cache)

    def _extract(
        self, layers: Sequence[str], views: int | None, **options: Any
    ) -> ExtractionResult:
        options = _TINY | {"layers": layers, "count": views} | options
        return extract(self.photos, self.cache, **grouped(options))

    def _require_complete(self, layers: Sequence[str], views: int | None) -> None:
        cache = open_cache(self.cache)
        there = np.flatnonzero(cache.images.exists).tolist()
        assert sorted(cache.images.path[row] for row in there) == sorted(self.shown)
        for name, view in product(layers, range(views or cache.views_begun)):
            assert len(cache.finished_shards(Series(name, view))) == cache.shard_count
        assert all(problem.is_missing_shard for problem in verify(self.cache))

    def _require_present_codes(self, tasks: Collection[int] = (0, 1, 2)) -> None:
        cache = open_cache(self.cache)
        for series in cache.series:
            for shard in cache.finished_shards(series):
                if shard % 3 in tasks:
                    self._require_codes_of_shard(series, cache.shard_path(series, shard))

    def _require_codes_of_shard(self, series: Series, path: Path) -> None:
        cache = open_cache(self.cache)
        for row, code in _rows_of(path):
            if cache.images.exists[row]:
                picture = self.shown[cache.images.path[row]]
                assert (code is None) == (picture == _NO_IMAGE)
                if code is not None:
                    expected = self.pictures.codes[series][picture]
                    np.testing.assert_allclose(code, expected, rtol=1e-4, atol=1e-5)


def _rows_of(shard: Path) -> Iterator[tuple[int, NDArray[np.float32] | None]]:
    with h5py.File(shard) as file:
        for row, valid, code in zip(file["row"], file["valid"], file["codes"], strict=True):
            yield int(row), code.ravel() if valid else None


_EDITS = (Album.add, Album.change, Album.copy, Album.remove, Album.restore, Album.move)
_RUNS = (Album.run_whole, Album.run_tasks, Album.run_interrupted, Album.damage_and_repair)

_edits = st.lists(
    st.tuples(st.sampled_from(_EDITS), st.integers(0, 15), st.integers(0, _NO_IMAGE)), max_size=4
)
_runs = st.tuples(
    st.sampled_from(_RUNS),
    st.sampled_from([("layer1",), ("layer2",), _LAYERS]),
    st.sampled_from([None, 1, 2, _VIEWS]),
    st.integers(0, 9),
)


@given(
    begin=st.lists(st.integers(0, _NO_IMAGE), min_size=1, max_size=10),
    history=st.lists(st.tuples(_edits, _runs), min_size=1, max_size=6),
)
@settings(max_examples=settings().max_examples // 4)
def test_codes_are_those_of_the_present_images(
    begin: list[int], history: list[Any], pictures: Pictures
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        album = Album(pictures, Path(folder))
        for place, picture in enumerate(begin):
            album.add(place, picture)
        for edits, (run, layers, views, number) in history:
            for edit, place, picture in edits:
                edit(album, place, picture)
            run(album, layers, views, number)
