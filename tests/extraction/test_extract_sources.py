"""Archives, tables and arrays go through every verb as a folder of the same images does."""

import json
import os
import pickle
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
from numpy.typing import NDArray

from bottleneck.cache.format.series import Series
from bottleneck.cache.store import open_cache
from bottleneck.data.image_source import ImageSource
from bottleneck.data.images import open_images
from bottleneck.extraction.options import ComputeOptions
from bottleneck.extraction.plan import plan
from bottleneck.extraction.repair import repair
from bottleneck.extraction.running.distributed import ShardTask, WorkerJob
from bottleneck.fitting.heads.head import Head
from bottleneck.prediction.evaluate import evaluate
from bottleneck.prediction.predict import predict
from tests.helpers.archives import medmnist, write_parquet, write_tar
from tests.helpers.fixture_types import Extract, Run
from tests.helpers.networks import PLAIN, SMALL

CPU = ComputeOptions(device="cpu")

Make = Callable[[Path, Path], Path]


def as_tar(photos: Path, place: Path) -> Path:
    files = sorted(path for path in photos.rglob("*") if path.is_file())
    members = {path.relative_to(photos).as_posix(): path.read_bytes() for path in files}
    return write_tar(place / "photos.tar", members)


def as_shards(photos: Path, place: Path) -> Path:
    """WebDataset's shards: numbers for names, classes and splits beside the images."""
    files = sorted(path for path in photos.rglob("*") if path.is_file())
    for number in range(0, len(files), 10):
        members = {}
        for i, path in enumerate(files[number : number + 10], start=number):
            split, label = path.relative_to(photos).parts[:2]
            members[f"{i:04d}{path.suffix}"] = path.read_bytes()
            members[f"{i:04d}.json"] = json.dumps({"label": label, "split": split}).encode()
        write_tar(place / "shards" / f"a-{number // 10:03d}.tar", members)
    return place / "shards" / f"a-{{000..{(len(files) - 1) // 10:03d}}}.tar"


def as_parquet(photos: Path, place: Path) -> Path:
    for split in ("train", "val"):
        files = sorted(path for path in (photos / split).rglob("*") if path.is_file())
        images = [{"bytes": path.read_bytes(), "path": path.name} for path in files]
        columns = {"image": images, "class": [path.parent.name for path in files]}
        write_parquet(place / "tables" / f"{split}-00000-of-00001.parquet", columns)
    return place / "tables"


MAKE: dict[str, Make] = {"tar": as_tar, "shards": as_shards, "parquet": as_parquet}


@pytest.fixture(params=MAKE)
def images(request: pytest.FixtureRequest, photos: Path, tmp_path: Path) -> Path:
    """The photographs of `photos` in files that hold many."""
    return MAKE[request.param](photos, tmp_path)


# Where the class of the source makes a difference, and not how many files it reads.
CLASSES = pytest.mark.parametrize(
    "images", ["shards", "parquet", pytest.param("tar", marks=pytest.mark.slow)], indirect=True
)


def codes(cache: Path, layer: str = "layer2") -> NDArray[np.float32]:
    with h5py.File(cache / "codes.h5") as file:
        return np.asarray(file[layer][...])


def test_the_codes_labels_and_splits_are_those_of_the_folder(
    images: Path, template: Path, tmp_path: Path, extract_tiny: Extract
) -> None:
    folder = open_cache(template / "cache")
    other = extract_tiny(images, tmp_path / "other")
    assert other.rows == 36
    assert not other.rejected
    # All of them list the files in the order of the folder.
    np.testing.assert_array_equal(codes(tmp_path / "other"), codes(folder.path))
    for column in ("label", "split"):
        assert getattr(other.cache.images, column)[:] == getattr(folder.images, column)[:]
    assert extract_tiny(images, tmp_path / "other").rows == 0


@CLASSES
def test_tasks_share_the_images_and_a_run_that_ended_early_goes_on(
    images: Path, template: Path, tmp_path: Path, extract_tiny: Extract
) -> None:
    first = extract_tiny(images, tmp_path / "other", task=(1, 3))
    assert 0 < first.rows < 36
    assert first.rows + extract_tiny(images, tmp_path / "other").rows == 36
    np.testing.assert_array_equal(codes(tmp_path / "other"), codes(template / "cache"))


def test_a_worker_elsewhere_reads_the_same_images(
    images: Path,
    template: Path,
    tmp_path: Path,
    extract_tiny: Extract,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(images.parent)
    source = open_images(images.name)
    extract_tiny(source, tmp_path / "other", task=(0, 9))
    cache = open_cache(tmp_path / "other")
    sent = pickle.dumps(WorkerJob.from_cache(cache, cache.reference, source, CPU))
    assert len(sent) < 4000  # the table is in the cache, and where the images lie is looked up
    monkeypatch.chdir("/")
    job = pickle.loads(sent)
    assert job.missing_on_worker() == ""
    assert sum(job.make(ShardTask((Series("layer2"),), shard)).rows for shard in range(1, 5)) == 28
    cache.write_derived_files()
    np.testing.assert_array_equal(codes(tmp_path / "other"), codes(template / "cache"))


@CLASSES
def test_a_worker_that_does_not_see_an_archive_says_which(
    images: Path, tmp_path: Path, extract_tiny: Extract
) -> None:
    cache = extract_tiny(images).cache
    source = open_images(images)
    job = WorkerJob.from_cache(cache, cache.reference, source, CPU)
    name = source.names[-1]  # type: ignore[attr-defined]
    gone = source.root / name  # type: ignore[attr-defined]
    gone.rename(tmp_path / "elsewhere")
    assert pickle.loads(pickle.dumps(job)).missing_on_worker() == str(gone)


@CLASSES
def test_a_lost_shard_is_repaired(images: Path, tmp_path: Path, extract_tiny: Extract) -> None:
    cache = extract_tiny(images).cache
    before = codes(cache.path)
    cache.shard_path("layer2", 1).unlink()
    repaired = repair(cache.path, images, compute=CPU, model=PLAIN)
    assert repaired.extraction.rows == 8
    np.testing.assert_array_equal(codes(cache.path), before)


@CLASSES
def test_a_head_predicts_and_is_judged_as_on_the_folder(
    images: Path, photos: Path, head: Head
) -> None:
    expected = [p.scores for p in predict(head, photos, model=PLAIN, compute=CPU)]
    found = list(predict(head, images, model=PLAIN, compute=CPU))
    assert [p.scores for p in found] == expected
    assert found[0].path.name.endswith((".png", ".jpg"))
    judged = evaluate(head, open_images(images), model=PLAIN, compute=CPU)
    assert judged.to_dict() == evaluate(head, photos, model=PLAIN, compute=CPU).to_dict()


@CLASSES
def test_a_plan_reads_some_of_them(images: Path) -> None:
    found = plan(images, model=PLAIN, layers=["layer2"], transform=SMALL, compute=CPU)
    assert (found.rows, found.throughput.rate > 0) == (36, True)


def test_images_that_are_added_to_an_archive_are_new_rows(
    photos: Path, tmp_path: Path, extract_tiny: Extract
) -> None:
    path = as_tar(photos, tmp_path)
    extract_tiny(path)
    (photos / "train" / "wasps" / "a.png").write_bytes(
        next((photos / "val" / "wasps").glob("*.png")).read_bytes()
    )
    as_tar(photos, tmp_path)
    again = extract_tiny(path, check_content=True)
    assert (again.changes.added, again.changes.removed, again.cache.status().rows) == (1, 0, 37)
    assert again.cache.images.path[36] == "photos.tar/train/wasps/a.png"
    os.utime(path, ns=(0, 1))
    assert extract_tiny(path, check_content=True).rows == 0


@pytest.mark.parametrize("make", [as_tar, as_parquet])
def test_images_that_cannot_be_decoded_are_rejected_by_name(
    make: Make, photos: Path, tmp_path: Path, extract_tiny: Extract
) -> None:
    (photos / "train" / "ants" / "broken.jpg").write_bytes(b"no image")
    done = extract_tiny(make(photos, tmp_path))
    ((row, reason),) = done.rejected.items()
    assert done.cache.images.path[row].endswith("broken.jpg")
    assert "not an image of a known format" in reason


def test_the_member_in_which_an_archive_is_cut_off_is_rejected_by_name(
    photos: Path, tmp_path: Path, extract_tiny: Extract
) -> None:
    path = as_tar(photos, tmp_path)
    source: ImageSource = open_images(path)
    offset = int(source._scan.members._offset[-1])  # type: ignore[attr-defined]
    path.write_bytes(path.read_bytes()[: offset + 20])
    done = extract_tiny(path)
    assert list(done.rejected) == [35]
    assert f"photos.tar is cut off at byte {offset + 20}" in done.rejected[35]


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_arrays_are_images(
    save: Callable[..., None], tmp_path: Path, extract_tiny: Extract
) -> None:
    save(tmp_path / "medmnist.npz", **medmnist({"train": 12, "test": 6}, 28, 28, 3))
    done = extract_tiny(tmp_path / "medmnist.npz")
    assert (done.rows, len(done.rejected)) == (18, 0)
    assert done.cache.images.label.categories == ["0", "1", "2"]
    assert extract_tiny(tmp_path / "medmnist.npz").rows == 0


def test_the_commands_take_a_range_of_shards(
    photos: Path, tmp_path: Path, run: Run, cache: Path, head: Head
) -> None:
    shards = as_shards(photos, tmp_path)
    options = ("--model", PLAIN, "--layer", "layer2", "--resize", 32, "--crop", 32)
    result = run("extract", shards, "-o", tmp_path / "new", *options, "--device", "cpu")
    assert result.exit_code == 0, result.output
    head.save(tmp_path / "a.head")
    result = run("predict", tmp_path / "a.head", shards, "--model", PLAIN, "--device", "cpu")
    assert result.exit_code == 0, result.output
    assert len(result.stdout.splitlines()) == 36
    result = run("evaluate", tmp_path / "a.head", shards, "--model", PLAIN, "--device", "cpu")
    assert "held-out val" in result.stdout
    result = run("extract", tmp_path / "a-{0..3}.tar", "-o", tmp_path / "no", *options)
    assert result.exit_code == 1
    assert "4 of the 4 files that" in result.stderr
