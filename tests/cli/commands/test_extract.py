"""`bottleneck extract`."""

import argparse
import csv
import errno
import json
import os
import pickle
import re
import shutil
import signal
import urllib.error
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
import torchvision
from PIL import Image
from safetensors.torch import save_file

from bottleneck.cache.format.manifest import COMPRESSIONS
from bottleneck.cache.format.shard_writer import write_shard
from tests.helpers import cli
from tests.helpers.cli import TINY, Trap, contents, expected_codes, refused, stored
from tests.helpers.fixture_types import Run
from tests.helpers.networks import NETWORKS, PLAIN
from tests.helpers.photographs import photograph, write_photographs
from tests.helpers.tiny_networks import plain, reused

made, photos, cache = cli.made, cli.photos, cli.cache


def _table(file: Path) -> list[dict[str, str]]:
    with file.open(newline="", encoding="utf-8") as lines:
        return list(csv.DictReader(lines))


def _rows(cache: Path) -> list[str]:
    return [row["path"] for row in _table(cache / "images.csv")]


def _rejected(cache: Path) -> dict[str, str]:
    return {row["path"]: row["reason"] for row in _table(cache / "rejected.csv")}


# What it makes


def test_the_cache_holds_the_codes_of_every_image(run: Run, photos: Path, tmp_path: Path) -> None:
    result = run("extract", photos, "-o", "new", *TINY, "--dtype", "float32")
    assert result.exit_code == 0
    rows = _table(tmp_path / "new" / "images.csv")
    files = sorted(path for path in photos.rglob("*") if path.is_file())
    assert [photos / row["path"] for row in rows] == files
    assert [row["label"] for row in rows] == [path.parent.name for path in files]
    assert [row["split"] for row in rows] == [path.parts[-3] for path in files]
    codes = stored(tmp_path / "new")
    np.testing.assert_allclose(codes, expected_codes(files), rtol=1e-4, atol=1e-5)


def test_json_has_the_status_and_what_this_run_did(run: Run, photos: Path, tmp_path: Path) -> None:
    (photos / "val" / "ants" / "ants000.jpg").write_bytes(b"")
    found = json.loads(run("extract", photos, "-o", "new", *TINY, "--json").stdout)
    status = json.loads(run("status", "new", "--json").stdout)
    assert found.items() >= status.items()
    assert found["encoded"] == 36
    assert found["changes"] == {"added": 0, "changed": 0, "removed": 0}
    assert found["rejected"] == _rejected(tmp_path / "new")
    assert set(found["shares"]) == {"read", "decode", "forward", "write"}
    assert sum(found["shares"].values()) == pytest.approx(1)


def test_text_ends_with_where_the_time_went_and_advice(run: Run, photos: Path) -> None:
    lines = run("extract", photos, "-o", "new", *TINY).stdout.splitlines()
    assert lines[-3].startswith("encoded 36 images in ")
    assert lines[-2].startswith("time: read ")
    assert "limit" in lines[-1]


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_every_compression_is_offered_and_read_by_plain_h5py(
    run: Run, photos: Path, cache: Path, tmp_path: Path, compression: str
) -> None:
    options = ("--dtype", "float32", "--shard-size", 8, "--compression", compression)
    assert run("extract", photos, "-o", "new", *TINY, *options).exit_code == 0
    plan = json.loads((tmp_path / "new" / "spec.json").read_text())
    assert plan["layout"]["compression"] == compression
    assert "nothing to do" in run("extract", photos, "-o", "new", *TINY).stdout
    np.testing.assert_array_equal(stored(tmp_path / "new"), stored(cache))


def test_the_same_command_again_has_nothing_to_do(run: Run, photos: Path, tmp_path: Path) -> None:
    run("extract", photos, "-o", "new", *TINY)
    before = contents(tmp_path / "new")
    result = run("extract", photos, "-o", "new", *TINY)
    assert "nothing to do" in result.stdout
    assert contents(tmp_path / "new") == before


@pytest.mark.parametrize("config", ["", '[extract]\npool = ["avg", "2"]'])
def test_each_layer_is_extracted_in_each_pooling(
    run: Run, photos: Path, tmp_path: Path, config: str
) -> None:
    (tmp_path / "bottleneck.toml").write_text(config)
    pools = [] if config else ["--pool", "avg", "--pool", "2"]
    result = run("extract", photos, "-o", "new", *TINY, "--layer", "layer3@max", *pools, "--json")
    assert list(json.loads(result.stdout)["layers"]) == ["layer2", "layer2@2x2", "layer3@max"]


def test_a_layer_is_added_without_touching_another(run: Run, photos: Path, cache: Path) -> None:
    before = contents(cache / "codes")
    result = run("extract", photos, "-o", cache, *TINY, "--layer", "fc", "--json")
    assert list(json.loads(result.stdout)["layers"]) == ["fc", "layer2", "layer3"]
    assert contents(cache / "codes").items() >= before.items()


def test_the_tasks_of_an_array_do_every_shard_once(
    run: Run, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoded = []
    for name, value in {"MIN": 1, "MAX": 3, "STEP": 1, "COUNT": 3}.items():
        monkeypatch.setenv(f"SLURM_ARRAY_TASK_{name}", str(value))
    for index in (3, 1, 2):
        monkeypatch.setenv("SLURM_ARRAY_TASK_ID", str(index))
        done = run("extract", photos, "-o", "new", *TINY, "--shard-size", 8, "--json")
        encoded.append(json.loads(done.stdout)["encoded"])
    assert encoded == [8, 8 + 8, 8 + 4]  # of shards 2; 0 and 3; 1 and 4, which is the last
    assert json.loads(run("status", "new", "--json").stdout)["complete"] is True
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "3")
    result = run("extract", photos, "-o", "new", *TINY, "--task", "auto/2")
    refused(result, "task 2", "--task auto: must be I/N", code=2)


def _in_an_array(monkeypatch: pytest.MonkeyPatch, index: int, count: int) -> None:
    """What Slurm sets for one element of ``--array=0-…``."""
    values = {"ID": index, "MIN": 0, "MAX": count - 1, "STEP": 1, "COUNT": count}
    for name, value in values.items():
        monkeypatch.setenv(f"SLURM_ARRAY_TASK_{name}", str(value))


def test_an_array_with_a_cache_for_each_element_names_the_variables_that_split_the_work(
    run: Run, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _in_an_array(monkeypatch, 1, 4)
    result = run("extract", photos, "-o", "new", *TINY)  # one shard, which is task 0's
    assert result.exit_code == 0
    assert result.stderr == (
        "task 1 of 4 (counted from 0), from SLURM_ARRAY_TASK_ID=1 and SLURM_ARRAY_TASK_COUNT=4: "
        "other shards are left to the other tasks, --task all makes every shard\n"
        "36 images, 3 classes, train 24, val 12\n"
    )
    assert "nothing to do" not in result.stdout
    *_, missing, hint, last = filter(None, result.stdout.splitlines())
    assert missing == (
        "the cache lacks 1 of 1 shards, to be made by task 0 of 4: "
        "`bottleneck status` with --tasks 4 names those that are left"
    )
    assert hint.endswith("has a cache or layers of its own, all of them need --task all")
    assert last.startswith("nothing left for this task; other tasks' shards are missing: 1")
    assert run("status", "new").exit_code == 3
    found = json.loads(run("extract", photos, "-o", "new", *TINY, "--json").stdout)
    assert (found["task"], found["missing_shards"], found["complete"]) == ([1, 4], 1, False)
    assert found["task_variables"] == ["SLURM_ARRAY_TASK_ID=1", "SLURM_ARRAY_TASK_COUNT=4"]


@pytest.mark.parametrize("task", ["all", "0/1"])
def test_all_makes_every_shard_whatever_the_scheduler_says(
    run: Run, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, task: str
) -> None:
    _in_an_array(monkeypatch, 1, 4)
    result = run("extract", photos, "-o", "new", *TINY, "--task", task)
    assert "SLURM" not in result.stderr
    assert len(stored(tmp_path / "new")) == 36
    assert "nothing to do" in run("extract", photos, "-o", "new", *TINY, "--task", task).stdout
    assert run("status", "new").exit_code == 0


def test_a_scheduler_that_tells_no_count_is_answered_with_all(
    run: Run, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PBS_ARRAY_INDEX", "2")
    result = run("extract", photos, "-o", "new", *TINY)
    refused(result, "PBS_ARRAY_INDEX=2", "auto/N", "--task all makes every shard", code=2)
    assert run("extract", photos, "-o", "new", *TINY, "--task", "all").exit_code == 0
    assert len(stored(tmp_path / "new")) == 36


def test_tasks_together_do_every_shard_once(run: Run, photos: Path, tmp_path: Path) -> None:
    done: list[set[str]] = []
    for task in ("0/2", "1/2"):
        run("extract", photos, "-o", "new", *TINY, "--shard-size", 8, "--task", task)
        done.append({path.name for path in (tmp_path / "new").rglob("0*.h5")})
    assert done[0] == {"00000.h5", "00002.h5", "00004.h5"}
    assert len(done[1]) == 5
    assert len(stored(tmp_path / "new")) == 36


def test_a_task_tells_of_its_own_shards(run: Run, photos: Path) -> None:
    extract = ("extract", photos, "-o", "new", *TINY, "--shard-size", 8, "--json", "--task")
    for task, rows, whole in (("0/2", 8 + 8 + 4, False), ("1/2", 8 + 8, True)):
        result = json.loads(run(*extract, task).stdout)
        assert result["encoded"] == rows
        assert (result["layers"]["layer2"]["done"], result["complete"]) == (rows, whole)
    status = json.loads(run("status", "new", "--json").stdout)
    assert (status["layers"]["layer2"]["done"], status["complete"]) == (36, True)


def test_a_grid_leaves_the_codes_of_a_classifier_layer_as_they_are(
    run: Run, photos: Path, tmp_path: Path
) -> None:
    result = run("extract", photos, "-o", "new", *TINY, "--layer", "fc", "--pool", 2)
    assert result.exit_code == 0
    assert stored(tmp_path / "new", "layer2").shape == (36, 8, 2, 2)
    assert stored(tmp_path / "new", "fc").shape == (36, 4)


def test_images_without_labels_are_extracted(run: Run, tmp_path: Path) -> None:
    write_photographs(tmp_path / "flat", 3, label="ants")
    assert run("extract", "flat", "-o", "new", *TINY).exit_code == 0
    assert [row["label"] for row in _table(tmp_path / "new" / "images.csv")] == ["", "", ""]


def test_a_csv_gives_labels_splits_and_groups(run: Run, photos: Path, tmp_path: Path) -> None:
    table = tmp_path / "list.csv"
    image = "photos/train/ants/ants000.jpg"
    table.write_text(f"path,label,split,group\n{image},queen,test,nest 4\n")
    assert run("extract", table, "-o", "new", *TINY).exit_code == 0
    row = _table(tmp_path / "new" / "images.csv")[0]
    assert [row[key] for key in ("path", "label", "split", "group")] == [
        *(image, "queen", "test", "nest 4"),
    ]
    np.testing.assert_allclose(
        stored(tmp_path / "new"), expected_codes([tmp_path / image]), rtol=1e-2, atol=1e-3
    )


def test_files_of_one_stem_are_rows_of_their_own(run: Run, tmp_path: Path) -> None:
    names = ["ants/same.jpg", "ants/same.png", "bees/same.jpg"]
    for seed, name in enumerate(names):
        path = tmp_path / "twins" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        photograph(seed, path.parent.name).save(path)
    run("extract", "twins", "-o", "new", *TINY, "--dtype", "float32")
    assert _rows(tmp_path / "new") == names
    expected = expected_codes([tmp_path / "twins" / name for name in names])
    np.testing.assert_allclose(stored(tmp_path / "new"), expected, rtol=1e-4, atol=1e-5)


# What it says before


@pytest.fixture
def small_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk with 20 kB free."""
    usage = shutil.disk_usage("/")._replace(free=20_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _place: usage)


def test_images_to_encode_and_disk_space_are_printed_before_the_work(
    run: Run, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage("/")._replace(free=52 * 10**9)
    monkeypatch.setattr(shutil, "disk_usage", lambda _place: usage)
    extract = ("extract", photos, "-o", "new", *TINY, "--shard-size", 8)
    # 5 shards of 16 kB, 36 rows of 320 B and 8 and 10 values in float16, and 136 texts of 29 B
    first = run(*extract, "--layer", "layer3")
    found = "36 images, 3 classes, train 24, val 12\n"
    assert first.stderr == found + (
        "36 images to encode at layer2 (8), layer3 (10): at most 192 kB, 52 GB free on the disk\n"
    )
    assert run(*extract).stderr == found  # nothing to do
    # 2 shards, 16 rows with 4 values, and 56 texts of 28 B: the task has no longer ones
    task = run(*extract, "--layer", "fc", "--task", "1/2", "--json")
    assert task.stderr == found + (
        "16 images to encode at fc (4): at most 38.8 kB, 52 GB free on the disk\n"
    )
    assert json.loads(task.stdout)["encoded"] == 16


def test_the_images_are_said_before_the_network_is_built(run: Run, photos: Path) -> None:
    Path("net.py").write_text(
        "import sys\n\n\ndef build():\n    sys.exit('the network is built')\n"
    )
    result = run("extract", photos, "-o", "new", "--model", "net.py:build", "--layer", "a")
    first, error = result.stderr.splitlines()
    assert first == "36 images, 3 classes, train 24, val 12"
    assert "the network is built" in error


@pytest.mark.usefixtures("small_disk")
def test_a_full_disk_is_refused_before_any_work(run: Run, photos: Path, tmp_path: Path) -> None:
    result = run("extract", photos, "-o", "new", *TINY)
    refused(
        result, "36 images", "29.7 kB", "20 kB free", "--pool avg", "--dtype float16", "--force"
    )
    assert not (tmp_path / "new").exists()


@pytest.mark.usefixtures("small_disk")
def test_force_goes_on(run: Run, photos: Path, tmp_path: Path) -> None:
    result = run("extract", photos, "-o", "new", *TINY, "--force")
    assert result.exit_code == 0
    assert result.stderr.endswith("at most 29.7 kB, 20 kB free on the disk\n")
    assert len(stored(tmp_path / "new")) == 36


# Images that give no codes


@pytest.fixture
def broken(tmp_path: Path) -> Path:
    """Six good images, and three that are none."""
    folder = tmp_path / "broken"
    for label in ("ants", "bees"):
        write_photographs(folder / label, 3, label=label)
    whole = (folder / "ants" / "ants000.jpg").read_bytes()
    (folder / "ants" / "ants000b.jpg").write_bytes(whole[: len(whole) // 2])
    (folder / "ants" / "zero.jpg").write_bytes(b"")
    (folder / "bees" / "a-text.jpg").write_text("this is no image\n" * 100)
    return folder


BROKEN = {
    "ants/ants000b.jpg": "cannot be decoded: ",
    "ants/zero.jpg": "the file is empty",
    "bees/a-text.jpg": "not an image",
}


@pytest.mark.parametrize("batch_size", [1, 2, 64])
def test_broken_images_are_rejected_by_name_and_the_rest_is_right(
    run: Run, broken: Path, tmp_path: Path, batch_size: int
) -> None:
    result = run(
        *("extract", broken, "-o", "new", *TINY, "--dtype", "float32"),
        *("--batch-size", batch_size),
    )
    assert result.exit_code == 0
    rejected = _rejected(tmp_path / "new")
    assert rejected.keys() == BROKEN.keys()
    for name, reason in BROKEN.items():
        assert reason in rejected[name]
        assert f"rejected: {name}: {rejected[name]}" in result.stdout
    rows = _rows(tmp_path / "new")
    good = [i for i, name in enumerate(rows) if name not in BROKEN]
    assert (len(rows), len(good)) == (9, 6)
    assert np.flatnonzero(stored(tmp_path / "new", name="valid")).tolist() == good
    np.testing.assert_allclose(
        stored(tmp_path / "new")[good],
        expected_codes([broken / rows[i] for i in good]),
        rtol=1e-4,
        atol=1e-5,
    )


def test_hints_in_json_name_options(run: Run, photos: Path) -> None:
    extract = ("extract", photos / "val" / "ants", "-o", "new", *TINY, "--max-pixels", 1, "--json")
    reasons = json.loads(run(*extract).stdout)["rejected"].values()
    assert len(reasons) == 4
    hint = re.compile(r": --max-pixels \d+ allows it; for a cache, --retry-rejected tries it")
    assert all(map(hint.search, reasons))


def test_strict_exits_with_1_and_keeps_what_was_done(
    run: Run, broken: Path, tmp_path: Path
) -> None:
    result = run("extract", broken, "-o", "new", *TINY, "--strict", "--json")
    assert result.exit_code == 1
    assert json.loads(result.stdout)["rejected"] == _rejected(tmp_path / "new")
    assert len(_rejected(tmp_path / "new")) == 3
    assert len(stored(tmp_path / "new")) == 9
    for name in BROKEN:
        (broken / name).unlink()
    again = run("extract", broken, "-o", "new", *TINY, "--strict")
    assert (again.exit_code, "rejected: " in again.stdout) == (0, False)


def test_strict_is_content_where_nothing_was_rejected(run: Run, photos: Path) -> None:
    for _ in range(2):  # then the cache lies among its images
        command = ("extract", photos, "-o", photos / "a.cache", *TINY, "--strict")
        assert run(*command).exit_code == 0


def test_a_folder_of_nothing_but_broken_images_is_all_rejections(
    run: Run, broken: Path, tmp_path: Path
) -> None:
    for path in broken.rglob("*.*"):
        path.write_bytes(b"")
    result = run("extract", broken, "-o", "new", *TINY)
    assert result.exit_code == 0
    assert _rejected(tmp_path / "new").keys() == set(_rows(tmp_path / "new"))


def test_an_image_that_the_csv_names_and_nobody_has_is_rejected(
    run: Run, photos: Path, tmp_path: Path
) -> None:
    (photos / "list.csv").write_text("path\ntrain/ants/ants000.jpg\ntrain/ants/absent.jpg\n")
    command = ("extract", photos / "list.csv", "-o", "new", *TINY)
    assert run(*command).exit_code == 0
    assert list(_rejected(tmp_path / "new")) == ["train/ants/absent.jpg"]
    assert run(*command, "--strict").exit_code == 1
    (photos / "list.csv").write_text("path\ntrain/ants/ants000.jpg\n")
    assert run(*command, "--strict").exit_code == 0


@pytest.fixture
def lock(monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], None]:
    """Take the permission to read a file away, from root as well."""

    def take(path: Path) -> None:
        open_file = os.open

        def opened(name: Any, *arguments: Any, **options: Any) -> int:
            if Path(name) == path:
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), name)
            return open_file(name, *arguments, **options)

        monkeypatch.setattr(os, "open", opened)

    return take


def test_an_image_that_may_not_be_read_is_rejected_by_name(
    run: Run, photos: Path, tmp_path: Path, lock: Callable[[Path], None]
) -> None:
    lock(photos / "train" / "bees" / "bees003.png")
    assert run("extract", photos, "-o", "new", *TINY).exit_code == 0
    rejected = _rejected(tmp_path / "new")
    assert list(rejected) == ["train/bees/bees003.png"]
    assert "Permission denied" in rejected["train/bees/bees003.png"]


def test_rejected_images_are_tried_again_when_asked(
    run: Run, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = photos / "train" / "bees" / "bees003.png"
    extract = ("extract", photos, "-o", "new", *TINY, "--layer", "layer3", "--dtype", "float32")
    whole, times = image.read_bytes(), image.stat()
    image.write_bytes(b"x" * len(whole))
    os.utime(image, ns=(times.st_atime_ns, times.st_mtime_ns))
    run(*extract)
    image.write_bytes(whole)  # mended, and yet of the same size and time
    os.utime(image, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert "nothing to do" in run(*extract).stdout
    assert list(_rejected(tmp_path / "new")) == ["train/bees/bees003.png"]
    assert run(*extract, "--retry-rejected").exit_code == 0
    assert _rejected(tmp_path / "new") == {}
    files = [photos / name for name in _rows(tmp_path / "new")]
    np.testing.assert_allclose(
        stored(tmp_path / "new"), expected_codes(files), rtol=1e-4, atol=1e-5
    )


def test_trying_again_at_one_layer_loses_no_codes_of_another(run: Run, broken: Path) -> None:
    run("extract", broken, "-o", "new", *TINY, "--layer", "layer3")
    run("extract", broken, "-o", "new", *TINY, "--retry-rejected")
    layers = json.loads(run("status", "new", "--json").stdout)["layers"]
    assert {name: layer["missing"] for name, layer in layers.items()} == {"layer2": 0, "layer3": 0}


def test_nan_names_image_and_layer_and_keeps_finished_shards(run: Run, tmp_path: Path) -> None:
    write_photographs(tmp_path / "some" / "ants", 12, label="ants")
    pixels = np.asarray(photograph(5, "ants", (32, 32))).copy()
    pixels[0, 0] = 255  # what the network answers with NaN
    Image.fromarray(pixels).save(tmp_path / "some" / "ants" / "white.png")
    arguments = (
        *("extract", "some", "-o", "new", *TINY, "--model", f"{NETWORKS}:poisoned"),
        *("--shard-size", 4),
    )
    result = run(*arguments)
    assert (result.exit_code, result.stdout) == (1, "")
    found, announced, error = result.stderr.splitlines()
    assert found == "13 images, 1 class"
    assert announced.startswith("13 images to encode at layer2 (8): ")
    assert error.startswith("error: ")
    for part in ("NaN", "ants/white.png", "layer2", "--precision float32"):
        assert part in error
    assert len(stored(tmp_path / "new")) == 12
    (tmp_path / "some" / "ants" / "white.png").unlink()
    found = json.loads(run(*arguments, "--json").stdout)
    assert (found["encoded"], found["complete"]) == (0, True)  # its shard held no other image


# What is passed over, and what is the same twice


def test_files_that_are_passed_over_are_counted_before(
    run: Run, photos: Path, tmp_path: Path
) -> None:
    (photos / "train" / "flies").mkdir()
    for name in ("train/flies/1.cr2", "train/flies/2.CR2", "train/ants/notes.txt"):
        (photos / name).write_bytes(b"x")
    extract = ("extract", photos, "-o", "new", *TINY)
    result = run(*extract, "--json")
    found = json.loads(result.stdout)["images"]
    assert result.stderr.splitlines()[:2] == [
        "36 images, 3 classes, train 24, val 12; 3 files of kinds that are not read: 2 .cr2, "
        "1 .txt",
        "class folders without an image: train/flies (2 files)",
    ]
    assert found["passed_over"] == {".cr2": 2, ".txt": 1}
    assert found["without_images"] == {"train/flies": 2}
    again = run(*extract, "--strict")  # nothing to do, and not in silence
    assert "3 files of kinds that are not read" in again.stdout
    assert (again.exit_code, again.stderr.splitlines()[2:]) == (
        1,
        [
            "error: --strict: 3 files of kinds that are not read: 2 .cr2, 1 .txt: convert, move "
            "or remove them"
        ],
    )
    shutil.rmtree(photos / "train" / "flies")
    assert run(*extract, "--strict").exit_code == 0  # a text is no image


def test_splits_of_usual_names_are_said_and_fitted(run: Run, photos: Path, tmp_path: Path) -> None:
    (photos / "train").rename(photos / "Training ")
    (photos / "val").rename(photos / "validation")
    result = run("extract", photos, "-o", "new", *TINY)
    assert result.stderr.splitlines()[:2] == [
        "36 images, 3 classes, train 24, val 12",
        "splits by their usual names: 'Training ' is train, 'validation' is val",
    ]
    assert {row["split"] for row in _table(tmp_path / "new" / "images.csv")} == {"train", "val"}
    fitted = run("fit", "new", "--clf", "svm", "--c", "1", "--cv", "0", "-o", "head", "--json")
    assert json.loads(fitted.stdout)["heldout"]["n"] == 12


def test_folders_that_may_be_splits_are_refused_before_anything(
    run: Run, photos: Path, tmp_path: Path
) -> None:
    shutil.copytree(photos / "train", photos / "training")
    result = run("extract", photos, "-o", "new", *TINY)
    refused(result, "'train', 'training' all look like the split 'train'", "CSV")
    assert not (tmp_path / "new").exists()


def test_a_csv_of_other_names_is_understood_and_said(
    run: Run, photos: Path, tmp_path: Path
) -> None:
    rows = [
        f"photos\\{split}\\ants\\ants00{i};ants ;{split.title()};7"
        for split in ("train", "val")
        for i in (0, 2)
    ]
    (tmp_path / "list.csv").write_text("\n".join(["\ufeffFileName;Class;set;camera", *rows, ""]))
    result = run("extract", "list.csv", "-o", "new", *TINY)
    assert result.stderr.splitlines()[:5] == [
        "4 images, 1 class, train 2, val 2",
        "columns by their usual names: 'FileName' is path, 'Class' is label, 'set' is split",
        "columns that are not used: 'camera'",
        "splits by their usual names: 'Train' is train, 'Val' is val",
        "4 paths found with / in place of \\ or without blanks around, and with the suffix .jpg",
    ]
    assert _rows(tmp_path / "new")[0] == "photos/train/ants/ants000.jpg"


def test_the_same_bytes_twice_are_one_line(run: Run, photos: Path) -> None:
    shutil.copy(photos / "train" / "ants" / "ants000.jpg", photos / "val" / "ants" / "copy.jpg")
    lines = run("extract", photos, "-o", "new", *TINY).stdout.splitlines()
    (line,) = [line for line in lines if "same bytes" in line]
    assert line == (
        "2 images have the same bytes as another: 1 picture, of which 1 is in several splits "
        "(train/ants/ants000.jpg = val/ants/copy.jpg)"
    )
    assert "same bytes" not in run("extract", photos / "val", "-o", "val", *TINY).stdout


# Refusals

TOKENS = """
from torch import nn

class Tokens(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Conv2d(3, 4, 8, 8)
        self.norm = nn.LayerNorm(4)

    def forward(self, x):
        return self.norm(self.embed(x).flatten(2).mT)
"""

REFUSED: list[tuple[list[str], list[str], int]] = [
    (["--model", "squeezenet"], ["'squeezenet'", "squeezenet1_0"], 2),
    (["--model", ""], ["''", "alexnet"], 2),
    (["--model", "absent.py:build"], ["absent.py"], 1),
    (["--model", f"{NETWORKS}:plaln"], ["'plaln'", "plain"], 2),
    (["--model", f"{NETWORKS}:not_a_network"], ["not_a_network", "Module", "str"], 1),
    (["--layer", "layr3"], ["'layr3'", "layer3"], 2),
    (["--layer", "nothing"], ["'nothing'", "bottleneck layers"], 2),
    (["--weights", "IMAGENET1K_V1"], ["'IMAGENET1K_V1'", "DEFAULT", "file"], 2),
    (["--weights", "absent.pth"], ["absent.pth"], 1),
    (["--weights", "absent.safetensors"], ["absent.safetensors"], 1),
    (["--pool", "wrong"], ["--pool wrong", "avg, max, none"], 2),
    (["--pool", "0"], ["--pool 0", "avg, max, none"], 2),
    (["--pool", "1.5"], ["--pool 1.5", "avg, max, none"], 2),
    (["--dtype", "int8"], ["int8", "float16", "float32"], 2),
    (["--compression", "zstd"], ["zstd", "none", "lzf", "gzip"], 2),
    (["--precision", "float64"], ["float64", "bfloat16"], 2),
    (["--device", "gpu"], ["--device gpu", "auto, cpu"], 2),
    (["--device", "cuda:99"], ["--device cuda:99", "auto, cpu"], 2),
    (["--batch-size", "0"], ["--batch-size 0", "at least 1"], 2),
    (["--batch-size", "-1"], ["--batch-size -1", "at least 1"], 2),
    (["--batch-size", "many"], ["--batch-size", "many"], 2),
    (["--workers", "0"], ["--workers 0", "at least 1"], 2),
    (["--shard-size", "0"], ["--shard-size 0", "at least 1"], 2),
    (["--task", "4/4"], ["--task 4/4", "0…3"], 2),
    (["--task", "0/0"], ["--task 0/0"], 2),
    (["--task", "4"], ["--task", "'4'", "I/N"], 2),
    (["--task", "-1/4"], ["--task", "'-1/4'", "I/N"], 2),
    (["--resize", "0"], ["--resize", "0 is not"], 2),
    (["--crop", "0"], ["--crop", "0 is not"], 2),
    (["--mean", "0.5,0.5"], ["--mean 0.5,0.5", "three"], 2),
    (["--mean", "a,b,c"], ["--mean", "'a,b,c'", "numbers"], 2),
    (["--mean", "nan,0,0"], ["--mean nan"], 2),
    (["--std", "1,0,1"], ["--std 1,0,1", "above 0"], 2),
    (["--std", "1,-1,1"], ["--std 1,-1,1", "above 0"], 2),
    (["--std", "nan,1,1"], ["--std nan"], 2),
    (["--std", "inf,1,1"], ["--std inf"], 2),
    (["--interpolation", "lanczos"], ["lanczos", "bilinear"], 2),
]

_IDS = [" ".join(options).replace(str(NETWORKS), "networks") for options, _, _ in REFUSED]


@pytest.mark.usefixtures("photos")
@pytest.mark.parametrize(("options", "parts", "code"), REFUSED, ids=_IDS)
def test_a_wrong_option_leaves_no_half_cache(
    run: Run, tmp_path: Path, options: list[str], parts: list[str], code: int
) -> None:
    refused(run("extract", "photos", "-o", "new", *TINY, *options), *parts, code=code)
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    "options",
    [
        ["--model", "squeezenet"],
        ["--layer", "layr3"],
        ["--weights", "absent.pth"],
        ["--pool", "wrong"],
        ["--device", "cuda:99"],
        ["--batch-size", "0"],
        ["--task", "4/4"],
        ["--std", "0,0,0"],
    ],
    ids=" ".join,
)
def test_a_wrong_option_leaves_a_cache_as_it_was(
    run: Run, photos: Path, cache: Path, options: list[str]
) -> None:
    (photos / "train" / "ants" / "ants000.jpg").write_bytes(b"changed since")
    before = contents(cache)
    result = run("extract", "photos", "-o", "cache", *TINY, *options)
    refused(result, *options[1:], code=result.exit_code)
    assert contents(cache) == before


def test_a_wrong_device_loses_no_finished_shards(run: Run, broken: Path) -> None:
    run("extract", broken, "-o", "new", *TINY)
    before = contents(Path("new"))
    again = ("extract", broken, "-o", "new", *TINY, "--retry-rejected", "--device", "cuda:99")
    refused(run(*again), "--device cuda:99", code=2)
    assert contents(Path("new")) == before


@pytest.mark.parametrize("shard_size", [[], ["--shard-size", "8"]])
def test_a_grid_of_tokens_is_refused(
    run: Run, photos: Path, tmp_path: Path, shard_size: list[str]
) -> None:
    (tmp_path / "mine.py").write_text(TOKENS)
    options = ("--model", "mine.py:Tokens", "--layer", "norm", "--crop", 32, "--pool", 2)
    result = run("extract", photos, "-o", "new", *options, *shard_size)
    refused(result, "--pool 2", "'norm'", "16 × 4", "avg, max or none", code=2)
    assert not (tmp_path / "new").exists()


TRANSFORMER = """
import torch
from torchvision.models import VisionTransformer

def build():
    torch.manual_seed(3)
    network = VisionTransformer(image_size=32, patch_size=16, num_layers=1, num_heads=2,
                                hidden_dim=8, mlp_dim=8)
    network.preprocess = {"resize": 32, "crop": 32}
    return network
"""


def test_the_class_token_of_a_transformer_is_a_code(run: Run, photos: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(TRANSFORMER)
    options = ("--model", "mine.py:build", "--layer", "encoder.ln", "--no-relu")
    for pool in ("cls", "none"):
        result = run("extract", photos, "-o", pool, *options, "--pool", pool, "--dtype", "float32")
        assert result.exit_code == 0, result.output
    tokens = stored(tmp_path / "none", "encoder.ln")
    assert tokens.shape == (36, 5, 8)
    np.testing.assert_allclose(stored(tmp_path / "cls", "encoder.ln"), tokens[:, 0], atol=1e-6)
    status = json.loads(run("status", "cls", "--json").stdout)
    assert status["spec"]["pool"] == "cls"


def test_the_class_token_is_refused_where_there_is_none(
    run: Run, photos: Path, tmp_path: Path
) -> None:
    (tmp_path / "mine.py").write_text(TRANSFORMER)
    command = ("extract", photos, "-o", "new", "--pool", "cls")
    result = run(*command, "--model", "mine.py:build", "--layer", "conv_proj")
    refused(result, "--pool cls", "'conv_proj'", "8 × 2 × 2", "avg, max, none or a grid", code=2)
    result = run(*command, *TINY)
    refused(result, "--pool cls", "'layer2'", "8 × 8 × 8", "no class token", code=2)
    refused(run("layers", PLAIN, "--crop", 32, "--pool", "cls"), "--pool cls", "avg, max", code=2)
    assert not (tmp_path / "new").exists()


def test_the_input_that_a_network_declares_is_said(run: Run, photos: Path, tmp_path: Path) -> None:
    text = TRANSFORMER.replace("preprocess = {", "pretrained_cfg = {'input_size': (3, 32, 32), ")
    text = text.replace('"resize": 32, "crop": 32', '"crop_pct": 0.9, "mean": (0.5, 0.5, 0.5)')
    (tmp_path / "mine.py").write_text(text)
    options = ("--model", "mine.py:build", "--layer", "encoder.ln", "--std", "1,1,1")
    result = run("extract", photos, "-o", "new", *options)
    assert result.exit_code == 0, result.output
    assert result.stderr.splitlines()[1] == (
        "input by timm's pretrained_cfg of the network, with std as given: shorter side 35, "
        "crop 32, bicubic, mean 0.5,0.5,0.5, std 1,1,1"
    )
    transform = json.loads((tmp_path / "new" / "spec.json").read_text())["spec"]["preprocess"]
    assert (transform["resize"], transform["crop"], transform["std"]) == (35, 32, [1.0, 1.0, 1.0])


def test_the_input_of_a_network_that_declares_none_is_said(
    run: Run, photos: Path, tmp_path: Path
) -> None:
    some = photos / "val" / "ants"
    command = ("extract", some, "-o", "new", "--model", PLAIN, "--layer", "layer2")
    assert run(*command).stderr.splitlines()[1] == (
        "input: the network has no `preprocess`, so that ImageNet's is assumed: shorter side 256, "
        "crop 224, bilinear, mean 0.485,0.456,0.406, std 0.229,0.224,0.225"
    )
    shutil.rmtree(tmp_path / "new")
    assert "input:" not in run(*command, "--crop", "32").stderr
    known = ("--model", "squeezenet1_1", "--weights", "none", "--layer", "features.2")
    assert "input:" not in run("extract", some, "-o", "known", *known).stderr


@pytest.mark.parametrize(
    ("images", "parts"),
    [
        ("absent", ["absent"]),
        ("empty", ["empty", ".jpg"]),
        ("photos/train/ants/ants000.jpg", ["ants000.jpg", "directory", ".csv"]),
        ("columns.csv", ["columns.csv", "'path'", "path[,label][,split][,group]"]),
        ("twice.csv", ["twice.csv", "'a.jpg'", "lines 2 and 4"]),
        ("nothing.csv", ["nothing.csv"]),
    ],
)
def test_images_that_are_not_there_leave_no_half_cache(
    run: Run, photos: Path, tmp_path: Path, images: str, parts: list[str]
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "notes.txt").write_text("no image")
    (tmp_path / "columns.csv").write_text("url,label\na.jpg,ants\n")
    (tmp_path / "twice.csv").write_text("path\na.jpg\nb.jpg\na.jpg\n")
    (tmp_path / "nothing.csv").write_text("path,label\n")
    refused(run("extract", images, "-o", "new", *TINY), *parts)
    assert not (tmp_path / "new").exists()


def test_images_that_are_gone_leave_a_cache_as_it_was(run: Run, photos: Path, cache: Path) -> None:
    before = contents(cache)
    photos.rename(photos.with_name("moved"))
    refused(run("extract", photos, "-o", cache, *TINY), photos)
    assert contents(cache) == before


@pytest.mark.parametrize("missing", ["images", "-o", "--model", "--layer"])
def test_missing_required_options_are_named(run: Run, photos: Path, missing: str) -> None:
    arguments = {
        "images": ["photos"],
        "-o": ["-o", "new"],
        "--model": ["--model", PLAIN],
        "--layer": ["--layer", "layer2"],
    }
    given = [word for name, words in arguments.items() if name != missing for word in words]
    refused(run("extract", *given), missing.upper() if missing == "images" else missing, code=2)


def test_a_directory_that_holds_something_else_is_not_used(run: Run, photos: Path) -> None:
    before = contents(photos)
    refused(run("extract", "photos", "-o", "photos", *TINY), "photos", "train", "with -o")
    assert contents(photos) == before


@pytest.mark.parametrize("place", ["file", "file/below"])
def test_a_file_is_not_used_as_a_cache(run: Run, photos: Path, tmp_path: Path, place: str) -> None:
    (tmp_path / "file").write_text("mine")
    refused(run("extract", photos, "-o", place, *TINY), place)
    assert (tmp_path / "file").read_text() == "mine"


# A cache of something else


def _other_weights(folder: Path) -> str:
    torch.manual_seed(1)
    torch.save(plain().state_dict(), folder / "other.pth")
    return "other.pth"


@pytest.mark.parametrize(
    ("options", "parts"),
    [
        (["--pool", "max"], ["pool", "avg", "max"]),
        (["--crop", "30"], ["crop is 32 in cache cache", "30"]),
        (["--resize", "40"], ["resize is 32 in cache cache", "40"]),
        (["--weights", "other.pth"], ["weights"]),
        (["--precision", "bfloat16"], ["precision", "float32", "bfloat16"]),
        (["--no-relu"], ["relu", "True", "False"]),
        (["--mean", "0,0,0"], ["mean", "0.485", "0.0"]),
        (["--interpolation", "bicubic"], ["interpolation", "bilinear", "bicubic"]),
        (["--model", f"{NETWORKS}:poisoned"], ["model", "plain", "poisoned"]),
        (["--dtype", "float16"], ["dtype", "float32", "float16", "with -o"]),
        (["--shard-size", "4"], ["shard", " 8,", " 4:", "with -o"]),
        (["--compression", "gzip"], ["compression none,", "gzip", "with -o"]),
    ],
    ids=lambda value: value[0].lstrip("-"),
)
def test_a_cache_of_another_spec_is_refused_with_the_difference(
    run: Run, cache: Path, tmp_path: Path, options: list[str], parts: list[str]
) -> None:
    _other_weights(tmp_path)
    before = contents(cache)
    refused(run("extract", "photos", "-o", "cache", *TINY, *options), "cache cache", *parts)
    assert contents(cache) == before


def test_every_difference_is_named_and_the_next_step(run: Run, photos: Path, cache: Path) -> None:
    options = ("--pool", "max", "--crop", "30")
    result = run("extract", "photos", "-o", "cache", *TINY, *options)
    refused(result, "pool is avg", "crop is 32", "with -o")


def test_a_network_file_that_was_edited_is_another_network(
    run: Run, photos: Path, tmp_path: Path
) -> None:
    mine = tmp_path / "my_network_with_a_long_name.py"
    mine.write_text(NETWORKS.read_text())
    arguments = ("extract", photos, "-o", "new", *TINY, "--model", f"{mine}:plain")
    run(*arguments)
    digest = json.loads((tmp_path / "new" / "spec.json").read_text())["spec"]["model"][-16:]
    mine.write_text(NETWORKS.read_text() + "# edited\n")
    before = contents(tmp_path / "new")
    refused(run(*arguments), "model", digest)  # and not twice the same shortened name
    assert contents(tmp_path / "new") == before


def test_other_images_altogether_are_refused(run: Run, cache: Path, tmp_path: Path) -> None:
    write_photographs(tmp_path / "others" / "bees", 3, label="bees")
    before = contents(cache)
    refused(run("extract", "others", "-o", "cache", *TINY), "of the 3 ", "36 others", "with -o")
    assert contents(cache) == before


# Weights


@pytest.mark.parametrize("suffix", [".pth", ".pt", ".bin", ".safetensors"])
@pytest.mark.parametrize("protocol", [2, 4])
def test_no_code_in_a_pickle_runs(
    run: Run, photos: Path, tmp_path: Path, suffix: str, protocol: int
) -> None:
    sprung = tmp_path / "sprung"
    data = pickle.dumps({"layer1.0.weight": Trap(sprung)}, protocol=protocol)
    pickle.loads(data)
    sprung.rmdir()  # so the trap is a live one
    (tmp_path / f"weights{suffix}").write_bytes(data)
    result = run("extract", photos, "-o", "new", *TINY, "--weights", f"weights{suffix}")
    refused(result, f"weights{suffix}", "state dict", "run code")
    assert not sprung.exists()
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("reused.pth", ["does not fit", "layer1.0.weight", "--model"]),
        ("reused.safetensors", ["does not fit", "layer1.0.weight", "--model"]),
        ("wider.pth", ["does not fit", "(5, 3)", "(6, 3, 3, 3)", "layer2", "--model"]),
        ("text.pth", ["state dict"]),
        ("text.safetensors", ["state dict"]),
        ("zero.pth", ["state dict"]),
        ("zero.safetensors", ["state dict"]),
        ("short.pth", ["state dict"]),
        ("short.safetensors", ["state dict"]),
        ("tensor.pth", ["state dict"]),
        ("numbered.pth", ["state dict"]),
        ("folder.pth", ["is a folder", "--weights"]),
        ("pointer.pth", ["Git LFS", "git lfs pull"]),
        ("page.pth", ["web page"]),
    ],
)
def test_a_file_that_is_not_this_networks_weights_is_refused(
    run: Run, photos: Path, tmp_path: Path, name: str, parts: list[str]
) -> None:
    state = reused().state_dict()
    torch.save(state, tmp_path / "reused.pth")
    save_file(state, tmp_path / "reused.safetensors")
    wider = plain().state_dict() | {"layer1.0.weight": torch.zeros(5, 3)}
    torch.save(wider, tmp_path / "wider.pth")
    (tmp_path / "pointer.pth").write_text(
        "version https://git-lfs.github.com/spec/v1\noid sha256:0\n"
    )
    (tmp_path / "page.pth").write_text("<!doctype html><title>404</title>")
    torch.save(torch.zeros(3), tmp_path / "tensor.pth")
    torch.save({0: torch.zeros(3)}, tmp_path / "numbered.pth")
    (tmp_path / "folder.pth").mkdir()
    for suffix in (".pth", ".safetensors"):
        whole = (tmp_path / f"reused{suffix}").read_bytes()
        (tmp_path / f"short{suffix}").write_bytes(whole[: len(whole) // 2])
        (tmp_path / f"zero{suffix}").write_bytes(b"")
        (tmp_path / f"text{suffix}").write_text("hello world, this is no file of weights\n")
    result = run("extract", photos, "-o", "new", *TINY, "--weights", name)
    refused(result, name, *parts)
    assert not (tmp_path / "new").exists()


def test_a_weights_file_is_used(run: Run, photos: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    save_file(plain().state_dict(), tmp_path / "mine.safetensors")
    weights = ("--weights", "mine.safetensors", "--dtype", "float32")
    assert run("extract", photos, "-o", "new", *TINY, *weights).exit_code == 0
    files = [photos / name for name in _rows(tmp_path / "new")]
    np.testing.assert_allclose(
        stored(tmp_path / "new"), expected_codes(files), rtol=1e-4, atol=1e-5
    )


def test_a_checkpoint_is_used_and_what_was_taken_of_it_is_said(
    run: Run, photos: Path, tmp_path: Path
) -> None:
    torch.manual_seed(0)  # the weights of `expected_codes`, but for one scale
    state = {f"model.{name}": value for name, value in plain().state_dict().items()}
    state |= {
        f"model.layer2.1.{name}": 2 * state[f"model.layer2.1.{name}"] for name in ("weight", "bias")
    }
    state |= {"model.fc.weight": torch.zeros(5, 10), "model.fc.bias": torch.zeros(5)}
    args = argparse.Namespace(lr=0.1, out=Path("runs"))
    torch.save({"epoch": 3, "state_dict": state, "args": args}, tmp_path / "checkpoint")
    options = (*TINY, "--weights", "checkpoint", "--dtype", "float32")
    result = run("extract", photos, "-o", "new", *options)
    assert result.exit_code == 0, result.output
    found, taken, left = result.stderr.splitlines()[:3]
    assert "images" in found
    assert taken.startswith(
        "checkpoint: loaded the weights under 'state_dict', 'model.layer1.0.weight'"
    )
    assert left == (
        "checkpoint: 'fc.weight' is (5, 10) in the file and (4, 10) in the network (and 1 more): "
        "behind 'layer2', which does not need it"
    )
    files = [photos / name for name in _rows(tmp_path / "new")]
    np.testing.assert_allclose(
        stored(tmp_path / "new"), 2 * expected_codes(files), rtol=1e-4, atol=1e-5
    )
    again = run("extract", photos, "-o", "new", *options)
    assert "nothing to do" in again.stdout
    refused(
        run("extract", photos, "-o", "new", *options, "--layer", "fc"),
        "(5, 10) in the file",
        "layer 'fc' depends on it",
        "--layer up to 'layer3'",
    )


SQUEEZENET = ("--model", "squeezenet1_1", "--layer", "features.3")


def test_a_download_that_fails_names_the_file_and_where_it_goes(
    run: Run, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def offline(*_: object, **__: object) -> None:
        raise urllib.error.URLError("Temporary failure\nin name resolution")

    monkeypatch.setattr(torch.hub, "download_url_to_file", offline)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "home"))
    result = run("extract", photos, "-o", "new", *SQUEEZENET)
    assert (result.exit_code, isinstance(result.exception, SystemExit)) == (1, True)
    lines = [line for line in result.stderr.splitlines() if not line.startswith("Downloading")]
    _found, *errors = lines
    assert len(errors) == 1
    assert errors[0].startswith("error: ")
    file = torchvision.models.get_model_weights("squeezenet1_1").IMAGENET1K_V1.url.split("/")[-1]
    for part in (file, str(tmp_path / "home" / "hub" / "checkpoints"), "file as --weights"):
        assert part in errors[0]
    assert not (tmp_path / "new").exists()


def test_a_download_does_not_mix_with_the_json(
    run: Run, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def download(url: str, place: str, *_: object, **__: object) -> None:
        network = torchvision.models.squeezenet1_1(weights=None)
        torch.save(network.state_dict(), place)

    monkeypatch.setattr(torch.hub, "download_url_to_file", download)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "home"))
    size = ("--resize", 32, "--crop", 32)
    result = run("extract", photos, "-o", "new", *SQUEEZENET, *size, "--json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["complete"] is True


# Interrupted


@pytest.mark.parametrize(
    ("sent", "word"),
    [
        (signal.SIGINT, "interrupted"),
        # As SIGINT but for its word and code, which tests/faults and test_interrupts have too.
        pytest.param(signal.SIGTERM, "terminated", marks=pytest.mark.slow),
        pytest.param(signal.SIGUSR1, "stopped", marks=pytest.mark.slow),
    ],
)
def test_an_interrupt_keeps_what_was_finished_and_the_next_run_goes_on(
    run: Run,
    photos: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    *,
    sent: signal.Signals,
    word: str,
) -> None:
    def write_and_send(path: Path, *content: Any, **options: Any) -> None:
        write_shard(path, *content, **options)
        if path.stem == "00001":
            os.kill(os.getpid(), sent)

    arguments = ("extract", photos, "-o", "new", *TINY, "--shard-size", 4, "--dtype", "float32")
    shards = tmp_path / "new" / "codes" / "layer2"
    with monkeypatch.context() as patch:
        patch.setattr("bottleneck.extraction.running.pipeline.write_shard", write_and_send)
        stopped = run(*arguments)
    assert (stopped.exit_code, stopped.stdout) == (128 + sent, "")
    finished = contents(shards)
    assert 2 <= len(finished) < 9
    assert stopped.stderr.splitlines()[-1] == (
        f"error: {word}: new holds {len(finished)} of 9 shards of layer2; what was finished is "
        "kept, the same command goes on"
    )
    assert "Traceback" not in stopped.stderr
    assert not list(tmp_path.rglob(".*.tmp~"))
    result = run(*arguments, "--json")
    found = json.loads(result.stdout)
    assert (found["encoded"], found["complete"]) == (36 - 4 * len(finished), True)
    assert contents(shards).items() >= finished.items()
    with h5py.File(tmp_path / "new" / "codes.h5") as file:
        assert file["layer2"].shape == (36, 8)


def test_a_comparison_of_images_of_another_time_shows_its_progress(
    run: Run, photos: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bottleneck.cli.progress._SECONDS_TO_FIRST_LINE", 0.0)
    for image in photos.rglob("*.png"):
        os.utime(image, (1, 1))
    done = run("extract", photos, "-o", cache, *TINY)
    assert done.exit_code == 0, done.output
    assert re.search(r"^4 of 18 images compared, .* left$", done.stderr, re.MULTILINE)
    assert "images compared" not in run("extract", photos, "-o", cache, *TINY).stderr
