import pickle
from typing import Any

import numpy as np
import pytest
import torch

from bottleneck.cache.format.manifest import StorageLayout
from bottleneck.errors import InvalidOptionError
from bottleneck.extraction.options import (
    ComputeOptions,
    RunOptions,
    StorageOptions,
    ViewOptions,
    default_shard_size,
)


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        (StorageOptions, {"dtype": "int8"}, "`dtype='int8'`: must be one of float16, float32"),
        (StorageOptions, {"compression": "x"}, "`compression='x'`: must be one of none, lzf, gzip"),
        (StorageOptions, {"shard_size": 0}, "`shard_size=0`: must be at least 1"),
        (
            StorageOptions,
            {"shard_size": 1 << 32},
            "`shard_size=4294967296`: must be at least 1 and",
        ),
        (StorageOptions, {"shard_size": 1.5}, "`shard_size=1.5`: must be a whole number"),
        (StorageOptions, {"shard_size": "8"}, "`shard_size='8'`: must be a whole number"),
        (ComputeOptions, {"batch_size": "8"}, "`batch_size='8'`: must be a whole number"),
        (ComputeOptions, {"precision": "half"}, "`precision='half'`: must be one of auto, float32"),
        (ComputeOptions, {"batch_size": 0}, "`batch_size=0`: must be at least 1"),
        (ComputeOptions, {"workers": -1}, "`workers=-1`: must be at least 1"),
        (RunOptions, {"task": "0/2"}, "`task='0/2'`: must be an ArrayTask"),
        (RunOptions, {"redo": ["layer2"]}, "`redo='layer2'`: must be pairs such as"),
        (RunOptions, {"redo": None}, "`redo=None`: must be pairs such as"),
    ],
)
def test_wrong_values_are_refused_by_name(kind: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidOptionError) as caught:
        kind(**options)
    assert str(caught.value).startswith(message)
    assert caught.value.parameter == next(iter(options))


def test_a_count_of_numpy_is_kept_as_pythons() -> None:
    count: Any = np.int64(8)
    for kept in (
        StorageOptions(shard_size=count).shard_size,
        ViewOptions(count).count,
        ComputeOptions(batch_size=count).batch_size,
    ):
        assert (kept, type(kept)) == (8, int)


@pytest.mark.parametrize("wrong", [3, 1.5, True])
def test_augmentations_are_names(wrong: Any) -> None:
    with pytest.raises(InvalidOptionError, match=f"`augmentations={wrong}`: must be one or more"):
        ViewOptions(2, augmentations=wrong)


def test_a_number_of_views_is_a_whole_number() -> None:
    for count in ("5", 2.5, True):
        with pytest.raises(InvalidOptionError, match="must be a whole number from 1"):
            ViewOptions(count)  # type: ignore[arg-type]


@pytest.mark.parametrize("options", [StorageOptions(), ComputeOptions(), RunOptions()])
def test_options_are_frozen_and_can_be_sent_to_workers(options: Any) -> None:
    with pytest.raises(AttributeError):
        options.other = 1
    assert pickle.loads(pickle.dumps(options)) == options


def test_workers_are_an_executor() -> None:
    with pytest.raises(InvalidOptionError, match="must be an Executor"):
        RunOptions(executor=3)  # type: ignore[arg-type]


def test_shards_to_redo_are_kept_whatever_they_are_given_as() -> None:
    assert RunOptions(redo=(pair for pair in [("layer2", 1)])).redo == (("layer2", 1),)


def test_the_layout_is_what_is_given_then_the_caches_own_then_the_default() -> None:
    own = StorageLayout("float32", 100, "lzf")

    assert StorageOptions().layout_of(own) == own
    given = StorageOptions(dtype="float16", compression="gzip", shard_size=8)
    assert given.layout_of(own) == given.new_layout(1 << 20) == StorageLayout("float16", 8, "gzip")
    assert StorageOptions().new_layout(1 << 20) == StorageLayout("float16", 32, "none")


def test_the_default_shard_has_4096_rows_or_64_mebibytes() -> None:
    assert [default_shard_size(size) for size in (1, 16384, 16385, 1 << 26, 1 << 27)] == [
        4096,
        4096,
        4095,
        1,
        1,
    ]


def test_a_device_may_be_pytorchs_own() -> None:
    given: Any = torch.device("cpu")
    assert ComputeOptions(device=given) == ComputeOptions(device="cpu")
