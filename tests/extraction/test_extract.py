import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from torch import nn

from bottleneck.cache.format.manifest import StorageLayout
from bottleneck.cache.store import Cache, open_cache
from bottleneck.cache.verify import verify
from bottleneck.data.decoding.decode import decoding_notes
from bottleneck.data.images import open_images
from bottleneck.data.resizing.view_recipe import ViewRecipe
from bottleneck.errors import (
    BackboneError,
    InvalidOptionError,
    NonFiniteCodesError,
    SpecMismatchError,
    UnknownNameError,
)
from bottleneck.extraction import options as module
from bottleneck.extraction.extract import extract
from bottleneck.extraction.repair import repair
from bottleneck.extraction.result import ExtractionProgress
from bottleneck.runtime.executors.backends import open_executor
from bottleneck.runtime.schedulers.array_task import ArrayTask
from tests.helpers.cli import expected_codes
from tests.helpers.fixture_types import Extract
from tests.helpers.networks import NETWORKS, PLAIN
from tests.helpers.options import grouped
from tests.helpers.photographs import photograph, write_photographs
from tests.helpers.shards import missing_shards
from tests.helpers.tiny_networks import plain


@pytest.fixture(scope="module")
def expected(template: Path) -> Any:
    """Codes of `photos` at layer2."""
    return codes(template / "cache")


def codes(cache: Cache | Path, layer: str = "layer2") -> Any:
    path = cache.path if isinstance(cache, Cache) else cache
    with h5py.File(path / "codes.h5") as index:
        return index[layer][...]


def leavings(cache: Path) -> list[Path]:
    return [path for path in cache.rglob("*") if "tmp" in path.name]


def test_a_note_says_where_pillow_has_to_decode_everything(
    photos: Path, extract_tiny: Extract, expected: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bottleneck.data.decoding.decode._decoders_agree", lambda: False)
    done = extract_tiny(photos)
    assert done.notes == decoding_notes() != ()
    np.testing.assert_array_equal(codes(done.cache), expected)


def test_every_image_is_a_row_or_a_named_rejection(photos: Path, extract_tiny: Extract) -> None:
    (photos / "val" / "ants" / "empty.jpg").touch()
    (photos / "val" / "bees" / "text.png").write_text("no image")
    done = extract_tiny(photos)
    rejected = {done.cache.images.path[row]: why for row, why in done.rejected.items()}
    assert rejected == {
        "val/ants/empty.jpg": "cannot be decoded: the file is empty",
        "val/bees/text.png": "cannot be decoded: not an image of a known format",
    }
    status = done.cache.status().layers["layer2"]
    assert (status.done, status.rejected, status.missing) == (36, 2, 0)
    assert np.isfinite(codes(done.cache)).all()


def test_large_photographs_are_decoded_at_a_fraction_where_that_is_asked_for(
    tmp_path: Path, extract_tiny: Extract
) -> None:
    for i in range(4):
        large = photograph(i, "ants").resize((640, 480))
        (tmp_path / "large").mkdir(exist_ok=True)
        large.save(tmp_path / f"large/{i}.jpg", quality=95)
    exact = extract_tiny(tmp_path / "large", tmp_path / "exact").cache
    fields = dict(exact.spec.transform.to_fields(), decoder="fast")
    fast = extract_tiny(tmp_path / "large", tmp_path / "fast", transform=fields).cache
    assert (exact.spec.decoder, fast.spec.decoder) == ("torchvision-1", "scaled-1")
    there, here = codes(exact).reshape(4, -1), codes(fast).reshape(4, -1)
    assert not np.array_equal(there, here)
    norms = np.linalg.norm(there, axis=1) * np.linalg.norm(here, axis=1)
    assert ((there * here).sum(axis=1) / norms > 0.99).all()
    with pytest.raises(SpecMismatchError, match=r"decoder is scaled-1 in .*torchvision-1"):
        extract_tiny(tmp_path / "large", tmp_path / "fast")


def test_files_labels_and_rows_keep_in_step(photos: Path, extract_tiny: Extract) -> None:
    cache = extract_tiny(photos, batch_size=5, workers=4).cache
    images = cache.images
    assert images.path == sorted(images.path)
    assert [path.split("/")[1] for path in images.path] == images.label
    expected = expected_codes([photos / path for path in images.path])
    np.testing.assert_allclose(codes(cache), expected, rtol=1e-4, atol=1e-5)
    assert np.ptp(expected, axis=0).min() > 1e-2  # each image has codes of its own


@pytest.mark.parametrize("batch_size", [1, 7, pytest.param(64, marks=pytest.mark.slow)])
def test_the_cache_is_the_same_for_any_batch_size(
    photos: Path, extract_tiny: Extract, expected: Any, batch_size: int
) -> None:
    found = codes(extract_tiny(photos, batch_size=batch_size).cache)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-7)


def test_a_second_run_makes_no_forward_pass_and_writes_nothing(
    cache: Path, photos: Path, extract_tiny: Extract, monkeypatch: pytest.MonkeyPatch
) -> None:
    stamps = {path: path.stat().st_mtime_ns for path in cache.rglob("*")}
    monkeypatch.setattr(nn.Module, "__call__", lambda *_: pytest.fail("a module was called"))
    again = extract_tiny(photos)
    assert (again.rows, bool(again.changes)) == (0, False)
    assert {path: path.stat().st_mtime_ns for path in stamps} == stamps


def test_several_layers_in_one_pass_are_those_of_one_at_a_time(
    photos: Path, extract_tiny: Extract, tmp_path: Path
) -> None:
    together = extract_tiny(photos, layers=["layer3", "layer1", "layer2.0"]).cache
    for layer in ("layer1", "layer2.0", "layer3"):
        alone = extract_tiny(photos, tmp_path / f"{layer}.cache", layers=[layer]).cache
        np.testing.assert_allclose(
            codes(together, layer), codes(alone, layer), rtol=1e-5, atol=1e-7
        )


def test_poolings_in_one_pass_are_those_of_one_at_a_time(
    photos: Path, extract_tiny: Extract, tmp_path: Path
) -> None:
    """And of the maps that h5py reads, pooled by PyTorch."""
    pools = {"avg": "", "max": "@max", "2": "@2x2", "none": "@none"}
    together = extract_tiny(photos, layers=["layer1", "layer2"], pool=list(pools)).cache
    assert together.spec.pool == "avg"
    for pool, own in pools.items():
        alone = extract_tiny(photos, tmp_path / pool, layers=["layer1", "layer2"], pool=pool).cache
        for layer in ("layer1", "layer2"):
            np.testing.assert_array_equal(codes(together, layer + own), codes(alone, layer))
    maps = torch.from_numpy(codes(together, "layer2@none")).float()
    grid = torch.nn.functional.adaptive_avg_pool2d(maps, 2).numpy()
    np.testing.assert_allclose(codes(together, "layer2@2x2"), grid, rtol=2e-3, atol=1e-5)
    np.testing.assert_array_equal(codes(together, "layer2@max"), maps.amax((2, 3)).numpy())


def test_a_pooling_is_added_as_a_layer_is(
    cache: Path, photos: Path, extract_tiny: Extract, tmp_path: Path
) -> None:
    before = codes(cache)
    options: dict[str, Any] = {"layers": ["layer2"], "pool": ["avg", "2x2"]}
    added = extract_tiny(photos, cache, **options)
    assert (added.cache.layers, added.rows) == (["layer2", "layer2@2x2", "layer3"], 36)
    np.testing.assert_array_equal(codes(cache), before)
    assert extract_tiny(photos, cache, **options).passes == 0
    assert extract_tiny(photos, cache, layers=["layer2@2", "layer3@avg"]).passes == 0
    with pytest.raises(SpecMismatchError, match=r"pool is avg .* 2 .* of layers named LAYER@2x2"):
        extract_tiny(photos, cache, pool="2")
    grid = codes(cache, "layer2@2x2")
    added.cache.shard_path("layer2@2x2", 1).unlink()
    assert len(repair(cache, photos, model=PLAIN).problems) == 1
    assert not verify(cache).problems
    np.testing.assert_array_equal(codes(cache, "layer2@2x2"), grid)


def test_the_pooling_is_the_caches_unless_it_is_given(
    photos: Path, extract_tiny: Extract, tmp_path: Path
) -> None:
    cache = extract_tiny(photos, layers=["layer1"], pool="max").cache
    added = extract_tiny(photos, layers=["layer2", "layer3@2x2"]).cache
    assert (added.spec, added.layers) == (cache.spec, ["layer1", "layer2", "layer3@2x2"])
    maps = codes(extract_tiny(photos, tmp_path / "maps", pool="none").cache)
    np.testing.assert_array_equal(codes(added), maps.max((2, 3)))
    with pytest.raises(SpecMismatchError, match="pool is max"):
        extract_tiny(photos, layers=["layer2"], pool="avg")


def test_an_empty_cache_decides_no_pooling_layout_or_recipe(
    photos: Path, extract_tiny: Extract
) -> None:
    options = {"dtype": "float32", "shard_size": 5, "compression": "lzf"}
    failed = extract_tiny(photos, pool="none", count=2, augmentations=["rotate"], **options).cache
    shutil.rmtree(failed.path / "codes")  # as after a run that wrote no shard
    assert open_cache(failed.path).layers == []
    begun = extract_tiny(photos, count=2, shard_size=None, dtype=None).cache
    assert (begun.spec.pool, begun.view_recipe) == ("avg", ViewRecipe())
    assert begun.layout == StorageLayout("float16", 4096, "none")


def test_an_empty_cache_of_the_same_spec_decides_no_layout(
    photos: Path, extract_tiny: Extract
) -> None:
    failed = extract_tiny(photos, shard_size=5).cache
    shutil.rmtree(failed.path / "codes")
    assert extract_tiny(photos, shard_size=None).cache.layout.shard_size == 4096


def test_a_pooling_that_a_layer_has_not_leaves_no_cache(
    photos: Path, extract_tiny: Extract, tmp_path: Path
) -> None:
    with pytest.raises(
        InvalidOptionError, match="`layers='fc@2x2'`: must be 'fc' without a pooling"
    ):
        extract_tiny(photos, layers=["layer2", "fc"], pool=["avg", "2"])
    assert not (tmp_path / "cache").exists()


def test_a_misspelt_layer_leaves_no_cache(
    photos: Path, extract_tiny: Extract, tmp_path: Path
) -> None:
    with pytest.raises(UnknownNameError, match="did you mean layer2"):
        extract_tiny(photos, layers=["layr2"])
    assert not (tmp_path / "cache").exists()


def test_a_misspelt_layer_leaves_a_cache_as_it_was(
    cache: Path, photos: Path, extract_tiny: Extract
) -> None:
    with pytest.raises(UnknownNameError):
        extract_tiny(photos, layers=["layer1", "layr3"])
    assert open_cache(cache).layers == ["layer2", "layer3"]


def test_tasks_together_make_the_whole(
    photos: Path, extract_tiny: Extract, tmp_path: Path, expected: Any
) -> None:
    rows = [extract_tiny(photos, task=ArrayTask(i, 3)).rows for i in (2, 0, 1)]
    assert sum(rows) == 36
    assert all(rows)
    np.testing.assert_array_equal(codes(tmp_path / "cache"), expected)


@pytest.mark.parametrize(
    "options",
    [{"layers": []}, {"layers": [2]}, {"device": "cuda:99"}],
)
def test_layers_and_device_are_checked_before_anything_is_read(options: dict[str, Any]) -> None:
    with pytest.raises(InvalidOptionError):
        extract("absent", "cache", model=PLAIN, **grouped({"layers": ["layer2"]} | options))


@pytest.mark.parametrize(
    "options",
    [{"batch_size": 0}, {"workers": 0}, {"shard_size": 0}],
)
def test_counts_are_checked_before_anything_is_read(options: dict[str, Any]) -> None:
    with pytest.raises(InvalidOptionError, match="must be"):
        extract("absent", "cache", model=PLAIN, layers=["layer2"], **grouped(options))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"relu": "no"}, "`relu='no'`: must be True or False"),
        ({"relu": 1}, "`relu=1`: must be True or False"),
        ({"pool": 2}, "`pool=2`: must be text: avg, .*a grid is '2', with quotes"),
        ({"weights": None}, "`weights=None`: must be DEFAULT, none, a name"),
    ],
)
def test_a_value_of_another_type_is_refused_and_nothing_is_written(
    photos: Path, extract_tiny: Extract, tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(InvalidOptionError, match=message):
        extract_tiny(photos, **options)
    assert not (tmp_path / "cache").exists()


def test_large_codes_get_shards_of_few_rows(
    photos: Path, extract_tiny: Extract, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = {"dtype": "float16", "shard_size": None}
    assert extract_tiny(photos, **options).cache.layout.shard_size == 4096
    monkeypatch.setattr(module, "_SHARD_BYTES", 10 * 8 * 8 * 8 * 2)
    large = extract_tiny(photos, tmp_path / "large", pool="none", **options).cache
    assert large.layout.shard_size == 10
    assert large.shard_count == 4


def test_float16_is_stored_rounded(photos: Path, extract_tiny: Extract, expected: Any) -> None:
    half = codes(extract_tiny(photos, dtype="float16").cache)
    assert half.dtype == np.float16
    np.testing.assert_array_equal(half, expected.astype(np.float16))


@pytest.mark.parametrize("compression", [pytest.param("lzf", marks=pytest.mark.slow), "gzip"])
def test_compression_is_the_caches_own_and_changes_no_code(
    photos: Path, extract_tiny: Extract, expected: Any, compression: str
) -> None:
    cache = extract_tiny(photos, compression=compression).cache
    np.testing.assert_array_equal(codes(cache), expected)
    bad = cache.shard_path("layer2", 1)
    bad.write_bytes(bad.read_bytes()[:-100])
    assert [found.shard for found in verify(cache.path)] == [1]
    assert extract_tiny(photos, redo=[("layer2", 1)]).rows == 8
    assert extract_tiny(photos, compression=compression).rows == 0
    np.testing.assert_array_equal(codes(cache), expected)
    for shard in range(cache.shard_count):
        with h5py.File(cache.shard_path("layer2", shard)) as file:
            assert file["codes"].compression == compression


def test_an_unknown_compression_leaves_no_cache(
    photos: Path, extract_tiny: Extract, tmp_path: Path
) -> None:
    with pytest.raises(
        InvalidOptionError, match="`compression='x'`: must be one of none, lzf, gzip"
    ):
        extract_tiny(photos, compression="x")
    assert not (tmp_path / "cache").exists()


def test_a_network_of_ones_own_is_an_object_and_is_not_changed(
    photos: Path, extract_tiny: Extract, tmp_path: Path
) -> None:
    network = plain().double().train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    done = extract_tiny(photos, model=network, layers=["layer2", "layer3"])
    assert done.rows == 36
    assert network.training
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert done.cache.reference.model == f"module:{type(network).__name__}"
    assert extract_tiny(photos, model=network).rows == 0
    torch.manual_seed(5)
    with pytest.raises(SpecMismatchError, match="weights"):
        extract_tiny(photos, model=plain())
    bad = done.cache.shard_path("layer2", 1)
    bad.unlink()
    with pytest.raises(BackboneError, match="given as an object"):
        repair(done.cache.path, photos)
    assert repair(done.cache.path, photos, model=network).extraction.rows == 8


def test_workers_are_not_given_a_network_that_is_an_object(
    photos: Path, extract_tiny: Extract, tmp_path: Path
) -> None:
    with (
        open_executor("loky", jobs=1) as executor,
        pytest.raises(InvalidOptionError, match=r"`model='.*`: must be a torchvision name or path"),
    ):
        extract_tiny(photos, model=plain(), executor=executor)
    assert not (tmp_path / "cache").exists()


def test_paths_may_be_text_and_images_a_source(
    photos: Path, extract_tiny: Extract, tmp_path: Path
) -> None:
    first = extract_tiny(str(photos), str(tmp_path / "text"))
    assert first.cache.path == tmp_path / "text"
    second = extract_tiny(open_images(photos), tmp_path / "source")
    np.testing.assert_array_equal(codes(first.cache), codes(second.cache))
    for known in (first, first.cache):
        assert extract_tiny(photos, known).rows == 0
        assert repair(known, photos).extraction.rows == 0


def test_an_error_in_the_network_keeps_what_was_finished(
    photos: Path, extract_tiny: Extract, tmp_path: Path, expected: Any
) -> None:
    white = photos / "val" / "wasps" / "white.png"  # the last shard
    image = photograph(1)
    image.paste((255, 255, 255), (0, 0, 48, 36))
    image.save(white)
    model = f"{NETWORKS}:poisoned"
    with pytest.raises(NonFiniteCodesError, match=r"white\.png"):
        extract_tiny(photos, model=model, batch_size=4)
    assert missing_shards(open_cache(tmp_path / "cache"), "layer2") == [4]
    assert leavings(tmp_path / "cache") == []
    white.unlink()
    done = extract_tiny(photos, model=model)
    assert done.rows == 4  # the removed image keeps its row, and has no code
    np.testing.assert_allclose(codes(done.cache)[:36], expected, rtol=1e-5)


def test_a_full_disk_keeps_what_was_finished(
    photos: Path,
    extract_tiny: Extract,
    tmp_path: Path,
    expected: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fsync, calls = os.fsync, iter(range(10**6))

    def filling(handle: int) -> None:
        if next(calls) > 9:  # images.csv, spec.json and a few shards fit
            raise OSError(28, "No space left on device")
        fsync(handle)

    monkeypatch.setattr(os, "fsync", filling)
    with pytest.raises(OSError, match="No space left"):
        extract_tiny(photos)
    monkeypatch.setattr(os, "fsync", fsync)
    cache = open_cache(tmp_path / "cache")
    assert 0 < len(missing_shards(cache, "layer2")) < 5
    assert list(verify(cache.path)) == [bad for bad in verify(cache.path) if bad.why == "missing"]
    assert leavings(cache.path) == []
    np.testing.assert_array_equal(codes(extract_tiny(photos).cache), expected)


def test_rejected_images_are_tried_again_only_when_asked(
    photos: Path, extract_tiny: Extract, monkeypatch: pytest.MonkeyPatch
) -> None:
    opening = os.open

    def denied(path: Any, flags: int, *mode: int) -> int:
        if Path(path).name == "bees003.png":
            raise PermissionError(13, "Permission denied")
        return opening(path, flags, *mode)

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", denied)
        first = extract_tiny(photos)
    assert set(first.rejected.values()) == {"cannot be read: Permission denied"}
    assert extract_tiny(photos).rows == 0
    again = extract_tiny(photos, retry_rejected=True)
    assert (again.rows, again.rejected) == (16, {})  # train/ and val/ have one each
    (photos / again.cache.images.path[0]).unlink()
    for _ in range(2):
        assert extract_tiny(photos, retry_rejected=True).rows == 0  # a removed one is not to be had


def test_a_task_retries_rejected_images_of_its_own_shards(
    photos: Path, extract_tiny: Extract, tmp_path: Path
) -> None:
    for row in (0, 20):
        path = sorted((photos).rglob("*.*"))[row]
        path.write_bytes(b"no image")
    extract_tiny(photos)
    rows = [extract_tiny(photos, task=ArrayTask(i, 2), retry_rejected=True).rows for i in range(2)]
    assert rows == [16, 0]  # shards 0 and 2 hold the two
    assert missing_shards(open_cache(tmp_path / "cache"), "layer2") == []


def test_progress_is_reported_after_each_batch(photos: Path, extract_tiny: Extract) -> None:
    told: list[ExtractionProgress] = []
    done = extract_tiny(photos, batch_size=5, on_progress=told.append, precision="auto")
    assert [progress.done for progress in told] == [0, 5, 8, 13, 16, 21, 24, 29, 32, 36]
    assert all((at.total, at.stats) == (36, done.stats) for at in told)
    assert done.stats.timer.seconds.keys() >= {"read", "decode", "forward", "write"}
    told.clear()
    extract_tiny(photos, on_progress=told.append, precision="auto")
    assert told == []  # there was nothing to do


def test_rows_out_of_step_are_never_written(
    photos: Path, extract_tiny: Extract, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from bottleneck.extraction.encoding.encoder import Encoder

    stream = Encoder.encode

    def shuffled(self: Encoder, *args: Any, **kwargs: Any) -> Any:
        for batch in stream(self, *args, **kwargs):
            batch.row[:] = batch.row[::-1]
            yield batch

    monkeypatch.setattr(Encoder, "encode", shuffled)
    with pytest.raises(AssertionError, match="would hold rows"):
        extract_tiny(photos)
    assert list((tmp_path / "cache").rglob("0*.h5")) == []


COMMAND = """
import sys
from pathlib import Path
import torch
torch.set_num_threads(1)
from bottleneck.extraction.extract import extract
from bottleneck.extraction.options import ComputeOptions, RunOptions, StorageOptions
extract(Path(sys.argv[1]), Path(sys.argv[2]), model=sys.argv[3], layers=["layer2", "layer3"],
        transform={"resize": 32, "crop": 32},
        storage=StorageOptions(dtype="float32", shard_size=4),
        compute=ComputeOptions(device="cpu", batch_size=3, workers=2),
        run=RunOptions(on_progress=lambda _: __import__("time").sleep(0.02)))
"""


@pytest.mark.slow  # tests/faults has the same and more, from a server that has PyTorch already
def test_killed_at_random_moments_and_started_again_it_ends_the_same(tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    for k, label in enumerate(["ants", "bees", "wasps"]):
        write_photographs(photos / label, 40, label=label, first_seed=100 * k)
    cache = tmp_path / "cache"
    arguments = [sys.executable, "-c", COMMAND, str(photos), str(cache), PLAIN]
    moments = random.Random(5)
    for _ in range(3):
        process = subprocess.Popen(arguments)
        made = len(list(cache.rglob("0*.h5")))
        while len(list(cache.rglob("0*.h5"))) < made + 4 and process.poll() is None:
            time.sleep(0.005)
        time.sleep(moments.uniform(0, 0.05))
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
        assert all(bad.why == "missing" for bad in verify(cache))
    subprocess.run(arguments, check=True)
    assert leavings(cache) == []
    assert verify(cache).ok
    reference = tmp_path / "reference"
    undisturbed = [str(reference) if part == str(cache) else part for part in arguments]
    subprocess.run(undisturbed, check=True)
    for layer in ("layer2", "layer3"):
        np.testing.assert_array_equal(codes(cache, layer), codes(reference, layer))
