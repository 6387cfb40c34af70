import os
import pickle
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest

from bottleneck.cache.format.manifest import cache_fingerprint
from bottleneck.cache.store import open_cache
from bottleneck.data.table.image_table import ImageTable
from bottleneck.errors import CacheError, LabelsError
from bottleneck.fitting.loading.labelled_rows import labelled_images
from bottleneck.fitting.loading.worker_cache import fingerprint_of, open_on_worker
from bottleneck.fitting.selection.options import SearchOptions
from bottleneck.fitting.sweep import sweep
from bottleneck.runtime.executors.backends import open_executor
from bottleneck.runtime.executors.executor import Item, Result
from tests.helpers.cli import edit_table
from tests.helpers.datasets import clouds, written_cache


@pytest.fixture
def layers(tmp_path: Path) -> Path:
    """Three layers of the same 60 rows of three classes."""
    X, y = clouds(n=60)
    return written_cache(tmp_path / "c", X, ["abc"[i] for i in y], layers=["x", "y", "z"])


@pytest.fixture
def parsed(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often a table of images was parsed."""
    counts: Counter[str] = Counter()
    read_csv = ImageTable.read_csv

    def counted(path: Path, **options: ImageTable | None) -> ImageTable:
        counts[path.name] += 1
        return read_csv(path, **options)

    monkeypatch.setattr(ImageTable, "read_csv", counted)
    return counts


def test_a_worker_parses_a_cache_once_for_all_of_its_tasks(
    layers: Path, parsed: Counter[str]
) -> None:
    fingerprint = cache_fingerprint(layers)
    first, images = open_on_worker(layers, fingerprint)
    again, same = open_on_worker(layers, fingerprint)
    assert (again, same) == (first, images)
    assert images is first.images
    assert parsed == {"images.csv": 1}
    edit_table(layers, lambda rows: [row.replace(b",a,", b",d,") for row in rows])
    _, images = open_on_worker(layers, cache_fingerprint(layers))
    assert parsed == {"images.csv": 2}
    assert "d" in set(images.label)


def test_a_cache_that_changed_is_refused_here_and_on_workers(layers: Path) -> None:
    before = open_cache(layers)
    fingerprint = fingerprint_of(before)
    edit_table(layers, lambda rows: rows[::-1])
    with pytest.raises(CacheError, match="changed since it was opened: open it again"):
        fingerprint_of(before)
    with pytest.raises(CacheError, match="changed since it was opened: open it again"):
        open_on_worker(layers, fingerprint)


def test_labels_that_changed_are_read_again(layers: Path, tmp_path: Path) -> None:
    labels = tmp_path / "labels.csv"
    for turn, name in enumerate("xy"):
        labels.write_text("path,label\n" + "".join(f"{i:03d}.jpg,{name}\n" for i in range(60)))
        os.utime(labels, ns=(turn, turn))
        _, images = open_on_worker(layers, cache_fingerprint(layers), labels)
        assert set(images.label) == {name}


def test_a_sweep_parses_the_table_once_whatever_the_layers(
    layers: Path, parsed: Counter[str]
) -> None:
    result = sweep(layers, search=SearchOptions(c=1.0, cv=2))
    assert len(result) == 8
    assert parsed == {"images.csv": 1}


class Copies:
    """An executor whose worker is this process, with copies of all it is given; last item first."""

    max_concurrency = 2

    def map_unordered(
        self, function: Callable[[Item], Result], items: Sequence[Item]
    ) -> Iterator[tuple[Item, Result]]:
        for item in reversed(items):
            own, copied = pickle.loads(pickle.dumps((function, item)))
            yield item, pickle.loads(pickle.dumps(own(copied)))

    def run_on_each_worker(self, function: Callable[[], Result]) -> dict[str, Result]:
        return {"here": pickle.loads(pickle.dumps(function))()}


def test_labels_that_are_not_those_which_were_read_are_refused_by_a_worker(
    layers: Path, tmp_path: Path
) -> None:
    csv, search = tmp_path / "labels.csv", SearchOptions(c=1.0, cv=2)
    csv.write_text("path,label\n" + "".join(f"{i:03d}.jpg,{'xy'[i % 2]}\n" for i in range(60)))
    labels = labelled_images(open_cache(layers), csv)
    assert len(sweep(layers, search=search, labels=labels, executor=Copies()))
    csv.write_text(csv.read_text().replace("000.jpg,x", "000.jpg,y"))
    with pytest.raises(LabelsError, match=r"labels\.csv has changed since it was read"):
        sweep(layers, search=search, labels=labels, executor=Copies())


@pytest.mark.parametrize("processes", [0, pytest.param(2, marks=pytest.mark.slow)])
def test_a_sweep_by_processes_is_that_of_this_one(layers: Path, processes: int) -> None:
    search = SearchOptions(c=1.0, cv=2, nested=True)
    opened = open_executor("loky", jobs=processes) if processes else nullcontext(Copies())
    with opened as executor:
        spread = sweep(layers, "svm", search=search, executor=executor)
    alone = sweep(layers, "svm", search=search)
    assert [row.cv for row in spread] == [row.cv for row in alone]
    assert spread.nested == alone.nested is not None
    assert [row.layer for row in spread] == ["x", "y", "z", "all layers"]
    assert all(np.isfinite(row.seconds) for row in spread)
