"""`bottleneck status`."""

import json
from pathlib import Path

import h5py
import pytest

from bottleneck.backbones.inference import runner
from bottleneck.runtime.schedulers.array_task import ArrayTask
from tests.helpers import cli
from tests.helpers.cli import TINY, contents, refused, stored
from tests.helpers.fixture_types import Extract, Run
from tests.helpers.photographs import photograph

made, photos, cache = cli.made, cli.photos, cli.cache

# A deviation of 1e-6 makes the input, and so the maps, a million times larger.
HUGE_MAPS = (*TINY, "--pool", "none", "--std", "0.000001,0.000001,0.000001")


def test_json_says_what_the_shards_hold(run: Run, cache: Path) -> None:
    found = json.loads(run("status", cache, "--json").stdout)
    assert found.keys() >= {"rows", "complete", "spec_digest", "layers"}
    assert found["rows"] == len((cache / "images.csv").read_text().splitlines()) - 1
    assert found["complete"] is True
    assert found["spec_digest"] == json.loads((cache / "spec.json").read_text())["spec_digest"]
    assert list(found["layers"]) == ["layer2", "layer3"]
    for name, layer in found["layers"].items():
        codes = stored(cache, name)
        files = list((cache / "codes" / name).glob("*.h5"))
        assert layer == {
            "done": len(codes),
            "missing": 0,
            "rejected": 0,
            "views": 1,
            "widened": 0,
            "shape": list(codes.shape[1:]),
            "dtype": str(codes.dtype),
            "bytes": sum(file.stat().st_size for file in files),
        }


def test_done_rejected_and_missing_are_all_rows(
    run: Run, photos: Path, extract_tiny: Extract
) -> None:
    (photos / "train" / "ants" / "ants000.jpg").write_bytes(b"")
    cache = extract_tiny(photos, task=ArrayTask(0, 2)).cache.path  # shards 0, 2 and 4 of 5
    found = json.loads(run("status", cache, "--json").stdout)
    assert found["complete"] is False
    layer = found["layers"]["layer2"]
    assert (layer["done"], layer["rejected"], layer["missing"]) == (19, 1, 16)


def test_text_has_a_line_a_layer_and_a_line_a_rejected_image(
    run: Run, photos: Path, extract_tiny: Extract
) -> None:
    (photos / "train" / "ants" / "ants000.jpg").write_bytes(b"")
    cache = extract_tiny(photos, layers=["layer2", "layer3"]).cache.path
    lines = run("status", cache).stdout.splitlines()
    assert lines[0].startswith(f"cache {cache}: 36 rows of tiny_networks.py:plain@")
    table = [line.split()[:5] for line in lines[1:4]]
    assert table == [
        ["layer", "done", "rejected", "missing", "code"],
        ["layer2", "35", "1", "0", "8"],
        ["layer3", "35", "1", "0", "10"],
    ]
    assert lines[4:] == [
        "rejected: train/ants/ants000.jpg: cannot be decoded: the file is empty",
    ]


def test_many_rejected_images_are_counted_and_their_list_is_named(
    run: Run, photos: Path, extract_tiny: Extract
) -> None:
    for image in (photos / "train").rglob("*.*"):
        image.write_bytes(b"")
    cache = extract_tiny(photos).cache.path
    lines = run("status", cache).stdout.splitlines()
    shown = sum(line.startswith("rejected: ") for line in lines)
    assert 0 < shown < 24
    assert lines[-1] == f"… and {24 - shown} more: {cache / 'rejected.csv'} names them all"


def test_codes_that_float16_cannot_hold_are_kept_in_float32_and_reported(
    run: Run, photos: Path, tmp_path: Path
) -> None:
    words = ("extract", photos, *HUGE_MAPS, "--shard-size", 18, "-o", tmp_path / "c")
    said = "shards in float32, of twice the size: 2; nothing is lost"
    advice = "A new cache with --dtype float32 has all alike"
    for text in (run(*words).stdout, run("status", tmp_path / "c").stdout):
        assert said in text
        assert advice in text
    with h5py.File(tmp_path / "c" / "codes" / "layer2" / "00000.h5") as file:
        assert file["codes"].dtype == "float32"
        assert file["codes"][...].max() > 65504
    run(*words[:-1], tmp_path / "d", "--dtype", "float32")  # asked for: nothing to be said
    assert "twice" not in run("status", tmp_path / "d").stdout


def test_maps_that_overflow_in_float16_are_refused_with_a_wider_precision(
    run: Run, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "native_precision", lambda precision, device: precision)  # a GPU's
    words = ("extract", photos, *HUGE_MAPS, "-o", tmp_path / "c")
    refusal = run(*words, "--precision", "float16")
    assert refusal.exit_code == 1
    last = refusal.stderr.splitlines()[-1]
    assert last.startswith("error: the network gave NaN or infinity at layer 'layer2'")
    assert "try --precision float32, or bfloat16, which has its range" in last
    assert run(*words, "--precision", "bfloat16").exit_code == 0


def test_a_plan_without_codes_is_not_complete(
    run: Run, photos: Path, extract_tiny: Extract
) -> None:
    cache = extract_tiny(photos, shard_size=100, task=ArrayTask(1, 2)).cache.path
    result = run("status", cache, "--json")
    found = json.loads(result.stdout)
    assert (found["rows"], found["complete"], result.exit_code) == (36, False, 3)
    assert run("status", cache).exit_code == 3


def test_a_cache_in_which_every_image_was_rejected_is_an_error(
    run: Run, photos: Path, extract_tiny: Extract
) -> None:
    images = list(photos.rglob("*.*"))
    for image in images:
        image.write_bytes(b"")
    cache = extract_tiny(photos).cache.path
    result = run("status", cache)
    assert result.exit_code == 1  # not 3: to wait would not help
    assert "no image has codes at layer2: every one was rejected, see the reasons" in result.stdout
    result = run("status", cache, "--json")
    found = json.loads(result.stdout)
    assert (result.exit_code, found["complete"], found["missing"]) == (1, False, {})
    assert found["without_codes"] == ["layer2"]
    assert run("status", cache, "--layer", "layer2", "--layer", "layer3").exit_code == 3
    photograph(1).save(images[0])
    extract_tiny(photos)
    found = json.loads(run("status", cache, "--json").stdout)
    assert (found["complete"], found["without_codes"]) == (True, [])


def test_missing_shards_are_listed_by_layer_and_by_task(
    run: Run, photos: Path, extract_tiny: Extract
) -> None:
    extract_tiny(photos, task=ArrayTask(1, 2))  # shards 1 and 3 of 5
    cache = extract_tiny(photos, layers=["layer3"]).cache.path
    (cache / "codes" / "layer3" / "00004.h5").unlink()
    result = run("status", cache, "--json", "--tasks", 3)
    found = json.loads(result.stdout)
    assert result.exit_code == 3
    assert found["missing"] == {"layer2": [0, 2, 4], "layer3": [4]}
    assert found["by_task"] == {"0": 1, "1": 2, "2": 1}
    assert found["complete"] is False
    text = run("status", cache, "--tasks", 100)
    assert text.exit_code == 3
    assert "tasks left of 100: --array=0,2,4" in text.stdout.splitlines()
    alone = json.loads(run("status", cache, "--json").stdout)
    assert alone["by_task"] == {"0": 4}  # one task, which lacks four shards
    assert "--array" not in run("status", cache).stdout


def test_the_tasks_that_are_left_are_those_that_finish_it(
    run: Run, photos: Path, extract_tiny: Extract
) -> None:
    cache = extract_tiny(photos, task=ArrayTask(2, 4), shard_size=3).cache.path
    left = json.loads(run("status", cache, "--json", "--tasks", 4).stdout)["by_task"]
    assert left == {"0": 3, "1": 3, "3": 3}
    for task in left:
        extract_tiny(photos, task=ArrayTask(int(task), 4), shard_size=3)
    found = run("status", cache, "--json", "--tasks", 4)
    assert (found.exit_code, json.loads(found.stdout)["by_task"]) == (0, {})
    assert "tasks left" not in run("status", cache, "--tasks", 4).stdout


def test_layers_that_are_named_must_be_whole(run: Run, photos: Path, extract_tiny: Extract) -> None:
    cache = extract_tiny(photos, layers=["layer2"]).cache.path
    extract_tiny(photos, layers=["layer3"], task=ArrayTask(0, 2))
    assert run("status", cache).exit_code == 3
    assert run("status", cache, "--layer", "layer2").exit_code == 0
    assert run("status", cache, "--layer", "layer2", "--layer", "layer3").exit_code == 3
    result = run("status", cache, "--layer", "layer2", "--layer", "layer1", "--json")
    found = json.loads(result.stdout)
    assert (result.exit_code, found["missing"]) == (3, {"layer1": [0, 1, 2, 3, 4]})
    assert found["layers"]["layer1"]["missing"] == 36
    assert not (cache / "codes" / "layer1").exists()  # to ask is not to begin


def test_looking_changes_nothing(run: Run, cache: Path) -> None:
    before = contents(cache)
    run("status", cache)
    assert contents(cache) == before


@pytest.mark.parametrize("place", ["absent", "photos", "photos/train/ants/ants000.jpg"])
def test_a_path_without_a_cache_is_refused_with_the_extract_command(
    run: Run, photos: Path, place: str
) -> None:
    refused(run("status", place), f"no cache at {place}", "bottleneck extract")


@pytest.mark.parametrize(
    ("file", "text"),
    [
        *(("spec.json", text) for text in ("{", "[]", None)),
        *(("images.csv", text) for text in ("", "a,b\n1,2\n", None)),
        # No JSON either, and no digest either.
        *(pytest.param("spec.json", text, marks=pytest.mark.slow) for text in ("", "a,b\n1,2\n")),
        *(pytest.param("images.csv", text, marks=pytest.mark.slow) for text in ("{", "[]")),
    ],
)
def test_a_damaged_plan_is_refused_by_every_command_and_kept(
    run: Run, photos: Path, cache: Path, file: str, text: str | None
) -> None:
    (cache / file).unlink()
    if text is not None:
        (cache / file).write_text(text)
    before = contents(cache)
    if (file, text) != ("spec.json", None):  # without it, it is no cache, and extract says so
        refused(run("status", cache), cache, file)
    for command in (
        ["status", cache],
        ["fit", cache, "--clf", "svm", "--layer", "layer2"],
        ["extract", photos, "-o", cache, *TINY],
    ):
        refused(run(*command), cache)
    verified = run("verify", cache)
    assert verified.exit_code == 1
    assert verified.stdout.startswith(f"bad: {file}: ")
    assert len(verified.stdout.splitlines()) == 1
    assert contents(cache) == before
    repaired = run("verify", cache, "--repair", photos)
    assert repaired.exit_code == 0
    assert repaired.stdout.startswith(f"repaired: {file}: ")
    assert run("status", cache).exit_code == 0


def test_a_spec_that_was_edited_is_refused(run: Run, cache: Path) -> None:
    spec = cache / "spec.json"
    spec.write_text(spec.read_text().replace('"avg"', '"max"'))
    refused(run("status", cache), cache, "spec.json", "edited")


def test_a_cache_of_a_later_version_is_refused(run: Run, cache: Path) -> None:
    spec = cache / "spec.json"
    spec.write_text(spec.read_text().replace('"format_version": 3', '"format_version": 4'))
    refused(run("status", cache), "version 4", "2 and 3")
