import pickle
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from bottleneck.cache import code_reader, reading
from bottleneck.cache.format.shard import open_shard
from bottleneck.cache.store import Cache, open_cache
from bottleneck.errors import (
    CacheError,
    InvalidOptionError,
    LabelsError,
    ShardError,
    UnknownNameError,
)
from tests.helpers.cli import edit_table
from tests.helpers.datasets import written_cache

LABELS = ["ant", "bee", "ant", "", "bee", "bee", "ant", "bee", "ant", "bee", "ant", "bee"]
SPLITS = ["train"] * 8 + ["test"] * 4
CODES = np.arange(36, dtype=np.float32).reshape(12, 3)


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    """Twelve rows in shards of five, of which row 3 has no label."""
    return open_cache(written_cache(tmp_path, CODES, LABELS, split=SPLITS, shard_size=5))


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the shards that a dataset has opened."""
    names: list[str] = []

    def spy(path: Path) -> Any:
        names.append(path.name)
        return open_shard(path)

    monkeypatch.setattr(reading, "open_shard", spy)
    return names


def test_load_gives_labelled_rows_of_a_split(cache: Cache) -> None:
    features, labels = cache.load("layer", split="Training")
    rows = [0, 1, 2, 4, 5, 6, 7]
    assert features.dtype == np.float32
    np.testing.assert_array_equal(features, CODES[rows])
    assert labels.tolist() == [LABELS[row] for row in rows]
    assert len(cache.load("layer")[0]) == 11
    assert cache.load("layer", "test")[1].tolist() == LABELS[8:]


def test_an_unknown_layer_or_split_is_refused(cache: Cache) -> None:
    for read in (cache.load, cache.dataset):
        with pytest.raises(UnknownNameError, match=r"'layr': did you mean layer\?"):
            read("layr")
        with pytest.raises(
            InvalidOptionError, match=r"`layer=\['layer'\]`: must be the name of one"
        ):
            read(["layer"])  # type: ignore[arg-type]
        with pytest.raises(UnknownNameError, match=r"'tset': did you mean test\?"):
            read("layer", "tset")


def test_items_are_codes_and_class_indices(cache: Cache) -> None:
    assert isinstance(cache.dataset("layer"), Dataset)
    data: Any = cache.dataset("layer", split="test")  # torch's are no iterables to type checkers
    assert data.classes == ["ant", "bee"]
    assert len(data) == 4
    code, target = data[1]
    assert (code.dtype, code.tolist(), target) == (torch.float32, CODES[9].tolist(), 1)
    assert data[-1][0].tolist() == CODES[11].tolist()
    with pytest.raises(IndexError):
        data[4]
    assert [target for _, target in data] == [0, 1, 0, 1]  # iteration ends


@pytest.mark.parametrize("workers", [0, 2])
def test_a_loader_gives_all_rows(cache: Cache, workers: int) -> None:
    data = cache.dataset("layer")
    loader = DataLoader(data, batch_size=4, shuffle=True, num_workers=workers)
    for _ in range(2):
        batches = list(loader)
        codes = torch.cat([codes for codes, _ in batches]).numpy()
        targets = torch.cat([targets for _, targets in batches]).tolist()
        order = np.argsort(codes[:, 0])
        rows = [row for row in range(12) if LABELS[row]]
        np.testing.assert_array_equal(codes[order], CODES[rows])
        assert [data.classes[targets[i]] for i in order] == [LABELS[row] for row in rows]


def test_a_batch_may_repeat_items_in_any_order(cache: Cache) -> None:
    data = cache.dataset("layer")
    items = [10, 0, 0, 5, 10, 3]
    batch = data.__getitems__(items)
    rows = [row for row in range(12) if LABELS[row]]
    assert [code.tolist() for code, _ in batch] == [CODES[rows[i]].tolist() for i in items]


def test_shards_are_opened_when_they_are_needed_and_once(cache: Cache, opened: list[str]) -> None:
    data = cache.dataset("layer")
    assert opened == []
    for item in (0, 1, 5, 0, 6):
        data[item]
    assert opened == ["00000.h5", "00001.h5"]


def test_few_shards_are_open_at_a_time(
    cache: Cache, opened: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(code_reader, "_MAX_OPEN_SHARDS", 1)
    data = cache.dataset("layer")
    for item, row in ((0, 0), (5, 6), (0, 0)):
        assert data[item][0].tolist() == CODES[row].tolist()
    assert opened == ["00000.h5", "00001.h5", "00000.h5"]


def test_a_damaged_shard_is_refused(cache: Cache) -> None:
    shard = cache.shard_path("layer", 1)
    content = bytearray(shard.read_bytes())
    content[-1] ^= 1
    shard.write_bytes(content)
    data = cache.dataset("layer")
    assert data[0][1] == 0
    with pytest.raises(ShardError, match=r"00001\.h5.*sha256 differs.*repair` makes it again"):
        data[5]


def test_a_shard_in_the_place_of_another_is_refused(cache: Cache) -> None:
    data = cache.dataset("layer")
    shutil.copy(cache.shard_path("layer", 0), cache.shard_path("layer", 1))
    with pytest.raises(ShardError, match="of rows 0 to 4"):
        data[5]


def _replace(cache: Path, how: str) -> None:
    """Give the last shard two more images, and perhaps say that all others have changed."""
    if how == "another cache":
        shutil.rmtree(cache)
    more = np.concatenate([CODES, CODES[:2]])
    written_cache(
        cache, more, [*LABELS, "ant", "bee"], split=[*SPLITS, "test", "test"], shard_size=5
    )
    if how == "changed images":
        edit_table(cache, lambda rows: [row.replace(b",1,0,", b",1,7,") for row in rows])


@pytest.mark.parametrize("how", ["more images", "changed images", "another cache"])
def test_a_shard_that_is_replaced_while_it_is_in_use_has_the_same_images(
    how: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(code_reader, "_MAX_OPEN_SHARDS", 1)
    path = written_cache(tmp_path / "c", CODES, LABELS, split=SPLITS, shard_size=5)
    cache = open_cache(path)
    data = cache.dataset("layer")
    before = data[10][0]
    blocks = list(cache.read_blocks("layer", 2, 2, verify=True))
    assert len(data[0]) == 2  # closes the shard of the other
    _replace(path, how)
    if how == "more images":
        assert torch.equal(data[10][0], before)
        again = list(cache.read_blocks("layer", 2, 2, verify=False))
        assert np.array_equal(again[0], blocks[0])
        return
    for read in (lambda: data[10], lambda: list(cache.read_blocks("layer", 2, 2, verify=False))):
        with pytest.raises(CacheError, match=r"00002\.h5 was replaced while its codes were in use"):
            read()


def test_a_dataset_says_what_it_is_of(cache: Cache) -> None:
    said = f"<TorchCodes: 4 codes of layer in {cache.path}, 2 classes>"
    assert repr(cache.dataset("layer", split="test")) == said


def test_a_dataset_can_be_sent_to_another_process(cache: Cache) -> None:
    data = cache.dataset("layer", "test")
    expected = data[2]
    again = pickle.loads(pickle.dumps(data))
    assert (again.classes, len(again)) == (data.classes, len(data))
    assert torch.equal(again[2][0], expected[0])


def test_codes_keep_their_stored_shape(tmp_path: Path) -> None:
    maps = np.random.default_rng(0).random((4, 2, 3, 3), dtype=np.float32)
    cache = open_cache(written_cache(tmp_path, maps, ["a", "b", "a", "b"]))
    data = cache.dataset("layer")
    np.testing.assert_array_equal(data[2][0].numpy(), maps[2])
    assert cache.load("layer")[0].shape == (4, 18)


def test_classes_are_those_of_all_splits(tmp_path: Path) -> None:
    split = ["train", "train", "test", "test"]
    cache = open_cache(written_cache(tmp_path, CODES[:4], ["b", "c", "c", "a"], split=split))
    train: Any = cache.dataset("layer", "train")
    test: Any = cache.dataset("layer", "test")
    assert train.classes == test.classes == ["a", "b", "c"]
    assert [target for _, target in test] == [2, 0]


def test_a_dataset_needs_two_classes(tmp_path: Path) -> None:
    cache = open_cache(written_cache(tmp_path, CODES[:4], ["a", "a", "", "a"]))
    with pytest.raises(LabelsError, match="at least 2 classes"):
        cache.dataset("layer")
