"""`bottleneck verify`."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from bottleneck.runtime.schedulers.array_task import ArrayTask
from tests.helpers import cli
from tests.helpers.cli import contents, refused, stored
from tests.helpers.fixture_types import Extract, Run
from tests.helpers.networks import NETWORKS

made, photos, cache = cli.made, cli.photos, cli.cache


def _flip_a_byte_of_the_codes(shard: Path) -> None:
    with h5py.File(shard) as file:
        offset = file["codes"].id.get_chunk_info(0).byte_offset
    data = bytearray(shard.read_bytes())
    data[offset] ^= 1
    shard.write_bytes(data)


def _damage(cache: Path, kind: str) -> str:
    """Do a damage and return the file that it is in, relative to the cache."""
    shard = cache / "codes" / "layer2" / "00001.h5"
    foreign = shard.with_name("notes.txt")
    if kind == "flipped byte":
        _flip_a_byte_of_the_codes(shard)
    elif kind == "missing":
        shard.unlink()
    elif kind == "cut short":
        shard.write_bytes(shard.read_bytes()[:1000])
    elif kind == "empty":
        shard.write_bytes(b"")
    elif kind == "of another layer":
        shutil.copy(cache / "codes" / "layer3" / shard.name, shard)
    elif kind == "of other rows":
        shutil.copy(shard.with_name("00002.h5"), shard)
    elif kind == "other labels":
        with h5py.File(shard, "r+") as file:
            file["valid"][0] = False
    elif kind == "foreign":
        shard = foreign
        shard.write_text("mine")
    elif kind == "foreign folder":
        shard = foreign.with_name("folder")
        shard.mkdir()
    else:
        shard = shard.with_name("00099.h5")  # beyond the plan
        shutil.copy(shard.with_name("00002.h5"), shard)
    return shard.relative_to(cache).as_posix()


DAMAGES = [
    "flipped byte",
    "missing",
    "cut short",
    "empty",
    "of another layer",
    "of other rows",
    "other labels",
]

FOREIGN = ["foreign", "foreign folder", "beyond the plan"]


def _verify(run: Run, cache: Path, *options: object) -> tuple[int, dict[str, Any]]:
    result = run("verify", cache, *options, "--json")
    found: dict[str, Any] = json.loads(result.stdout)
    return result.exit_code, found


def test_a_sound_cache_is_ok(run: Run, cache: Path) -> None:
    assert _verify(run, cache) == (0, {"ok": True, "bad": []})
    assert run("verify", cache).stdout == f"ok: every byte of {cache} is what was written\n"


@pytest.mark.parametrize("kind", DAMAGES + FOREIGN)
def test_every_damage_is_found_and_named(run: Run, cache: Path, kind: str) -> None:
    file = _damage(cache, kind)
    before = contents(cache)
    code, found = _verify(run, cache)
    assert (code, found["ok"]) == (1, False)
    assert [item["file"] for item in found["bad"]] == [file]
    assert found["bad"][0]["why"]
    text = run("verify", cache)
    assert text.exit_code == 1
    again = "missing: 1 of 5 shards of layer2: run the same `bottleneck extract` again\n"
    damage = f"bad: {file}: {found['bad'][0]['why']}\n"
    assert text.stdout == (again if kind == "missing" else damage)
    assert contents(cache) == before


@pytest.mark.parametrize(
    "kind",
    # Whatever it is that was found, what is there is removed.
    [
        kind if kind in ("flipped byte", "missing") else pytest.param(kind, marks=pytest.mark.slow)
        for kind in DAMAGES
    ],
)
def test_repair_makes_the_codes_what_they_were(
    run: Run, cache: Path, photos: Path, kind: str
) -> None:
    before = {layer: stored(cache, layer) for layer in ("layer2", "layer3")}
    file = _damage(cache, kind)
    result = run("verify", cache, "--repair", photos)
    assert result.exit_code == 0
    assert f"repaired: {file}: " in result.stdout
    assert _verify(run, cache) == (0, {"ok": True, "bad": []})
    for layer, codes in before.items():
        assert np.array_equal(stored(cache, layer), codes)


@pytest.mark.parametrize("kind", FOREIGN)
def test_repair_leaves_foreign_files_and_repairs_the_others(
    run: Run, cache: Path, photos: Path, kind: str
) -> None:
    before = stored(cache, "layer2")
    file = _damage(cache, kind)
    foreign = {name: digest for name, digest in contents(cache).items() if name == file}
    damaged = _damage(cache, "flipped byte")
    result = run("verify", cache, "--repair", photos)
    assert result.exit_code == 1
    assert f"repaired: {damaged}: " in result.stdout
    assert f"repaired: {file}: " not in result.stdout
    assert [item["file"] for item in _verify(run, cache)[1]["bad"]] == [file]
    assert contents(cache).items() >= foreign.items()
    assert np.array_equal(stored(cache, "layer2")[: len(before)], before)


def test_a_repair_of_the_table_shows_that_images_are_compared(
    run: Run, cache: Path, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bottleneck.cli.progress._SECONDS_TO_FIRST_LINE", 0.0)
    (cache / "images.csv").unlink()
    done = run("verify", cache, "--repair", photos)
    assert done.exit_code == 0, done.output
    assert re.search(r"^8 of 36 images compared, .* left$", done.stderr, re.MULTILINE)


def test_repair_in_json_says_what_it_made_and_how_the_cache_is_now(
    run: Run, cache: Path, photos: Path
) -> None:
    file = _damage(cache, "missing")
    code, found = _verify(run, cache, "--repair", photos)
    assert (code, found["ok"], found["bad"]) == (0, True, [])
    assert found["repaired"] == [{"file": file, "why": "missing"}]
    assert found["extraction"]["encoded"] == 8


def test_a_repair_says_what_there_is_to_do_and_needs_room_for_it(
    run: Run, cache: Path, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = _damage(cache, "flipped byte")
    before = contents(cache)
    usage = shutil.disk_usage("/")._replace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _place: usage)
    repair = ("verify", cache, "--repair", photos)
    refused(run(*repair), "8 images", "1 kB free", "--force")
    assert contents(cache) == before
    forced = run(*repair, "--force")
    assert forced.exit_code == 0
    found, announced = forced.stderr.splitlines()
    assert found == "36 images, 3 classes, train 24, val 12"
    assert announced.startswith("8 images to encode at layer2 (8): at most ")
    assert f"repaired: {file}" in forced.stdout


def test_repair_leaves_sound_shards_alone(run: Run, cache: Path, photos: Path) -> None:
    damaged = _damage(cache, "flipped byte")
    shards = {path for path in cache.rglob("0*.h5") if path != cache / damaged}
    before = {path: path.stat().st_ino for path in shards}
    run("verify", cache, "--repair", photos)
    assert {path: path.stat().st_ino for path in shards} == before


def test_repair_finishes_what_was_never_done(run: Run, photos: Path, extract_tiny: Extract) -> None:
    cache = extract_tiny(photos, task=ArrayTask(0, 2)).cache.path
    code, found = _verify(run, cache)
    assert (code, [item["why"] for item in found["bad"]]) == (1, ["missing", "missing"])
    assert run("verify", cache, "--repair", photos).exit_code == 0
    assert _verify(run, cache)[0] == 0


def test_the_images_for_the_repair_can_be_configured(
    run: Run, cache: Path, photos: Path, tmp_path: Path
) -> None:
    _damage(cache, "flipped byte")
    (tmp_path / "bottleneck.toml").write_text(f"[verify]\ncache = '{cache}'\nrepair = 'photos'\n")
    assert run("verify").exit_code == 0


@pytest.mark.parametrize(
    ("options", "parts", "code"),
    [
        (["--repair", "absent"], ["absent"], 1),
        (["--repair", "photos", "--model", "absent.py:build"], ["absent.py"], 1),
        (["--repair", "photos", "--model", f"{NETWORKS}:reused"], ["model", "reused"], 1),
        (["--repair", "photos", "--weights", "absent.pth"], ["absent.pth"], 1),
        (["--repair", "photos", "--device", "cuda:99"], ["cuda:99", "cpu"], 2),
        (["--repair", "photos", "--batch-size", "0"], ["--batch-size 0", "at least 1"], 2),
    ],
)
def test_a_repair_that_cannot_be_done_loses_nothing(
    run: Run, cache: Path, options: list[str], parts: list[str], code: int
) -> None:
    _damage(cache, "flipped byte")
    before = contents(cache)
    refused(run("verify", "cache", *options), *parts, code=code)
    assert contents(cache) == before


@pytest.mark.parametrize(
    "option",
    [
        *(["--model", "resnet18"], ["--weights", "nowhere"], ["--device", "auto"]),
        *(["--runtime", "auto"], ["--batch-size", "-3"], ["--max-pixels", "1"], ["--force"]),
    ],
    ids=lambda option: str(option[0]),
)
def test_options_of_a_repair_are_refused_without_one(
    run: Run, cache: Path, option: list[str]
) -> None:
    refused(run("verify", cache, *option), " ".join(option), "given with --repair", code=2)


def test_options_of_a_repair_may_be_configured(run: Run, cache: Path, tmp_path: Path) -> None:
    (tmp_path / "bottleneck.toml").write_text("[verify]\ndevice = 'cpu'\n")
    assert run("verify", cache).exit_code == 0


def test_repair_with_other_images_loses_nothing(run: Run, cache: Path, tmp_path: Path) -> None:
    other = tmp_path / "other" / "bees"
    other.mkdir(parents=True)
    shutil.copy(tmp_path / "photos" / "train" / "bees" / "bees000.jpg", other)
    _damage(cache, "flipped byte")
    before = contents(cache)
    refused(run("verify", "cache", "--repair", "other"), "cache cache", "36 others")
    assert contents(cache) == before


def test_a_place_without_a_cache_is_refused(run: Run, photos: Path) -> None:
    refused(run("verify", "absent"), "no cache at absent", "bottleneck extract")
    refused(run("verify", "absent", "--repair", photos), "no cache at absent")


def test_fit_refuses_a_damaged_shard_and_says_how_to_mend_it(run: Run, cache: Path) -> None:
    _damage(cache, "flipped byte")
    for memory in ("1G", "1K"):  # in one array, and in blocks
        refused(
            run("fit", cache, "--clf", "svm", "--layer", "layer2", "--memory", memory),
            "00001.h5",
            "`bottleneck verify --repair IMAGES` makes it again",
        )
    assert not list(Path().glob("*.safetensors"))
