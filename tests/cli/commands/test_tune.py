"""`bottleneck tune`."""

import json
import re
import shutil
from pathlib import Path

import pytest

from bottleneck.finetuning.tuned_tail import TunedTail
from tests.helpers.cli import refused
from tests.helpers.fixture_types import Run
from tests.helpers.tuning import CHAIN, hard_images, maps_cache

QUICK = ("--epochs", 2, "--lr", 0.001, "--batch-size", 16, "--device", "cpu")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with images, and their maps."""
    folder = tmp_path_factory.mktemp("made")
    maps_cache(hard_images(folder), folder / "maps", count=1)
    return folder


@pytest.fixture
def maps(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made / "maps", tmp_path / "maps"))


def test_from_a_cache_to_predictions(run: Run, made: Path, maps: Path, tmp_path: Path) -> None:
    result = run("tune", maps, *QUICK)
    assert result.exit_code == 0, result.output
    *_, verdict, saved = result.stdout.splitlines()
    assert verdict.startswith("take the ")
    assert saved.startswith("saved tail-2.safetensors (")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["maps", "tail-2.safetensors"]
    said, trial, *_, last = result.stderr.splitlines()
    assert re.fullmatch(
        r"tail behind 2: \d+ parameters, \d+% of the multiply-adds; maps of [\d×]+ of 60 images "
        r"in memory \(.* kB\)",
        said,
    )
    assert re.fullmatch(
        r"training on \d\d images, \d+ kept back, with a learning rate of 0.001", trial
    )
    assert last == "training on 40 images, with a learning rate of 0.001"
    judged = run("evaluate", "tail-2.safetensors", maps, "--device", "cpu", "--json")
    assert json.loads(judged.stdout)["heldout"]["n"] == 20
    again = run("evaluate", "tail-2.safetensors", made / "hard.csv", "--device", "cpu", "--json")
    assert (
        json.loads(again.stdout)["heldout"]["confusion"]
        == (json.loads(judged.stdout)["heldout"]["confusion"])
    )
    image = next((made / "hard").iterdir())
    told = run("predict", "tail-2.safetensors", image, "--device", "cpu", "--format", "jsonl")
    assert set(json.loads(told.stdout)["scores"]) == {"a", "b", "c"}


def test_as_json(run: Run, maps: Path, tmp_path: Path) -> None:
    result = run("tune", maps, "--layer", "2", *QUICK, "-o", "t", "--json", "--init", "mlp")
    values = json.loads(result.stdout)
    assert (values["clf"], values["head"], values["layer"]) == ("tail", "t", "2")
    assert TunedTail.load(tmp_path / "t").hidden == 512
    recorded = TunedTail.load(tmp_path / "t").training_record
    assert recorded == {key: value for key, value in values.items() if key != "head"}


def test_a_whole_network_from_images(run: Run, made: Path) -> None:
    small = ("--resize", 32, "--crop", 32)
    result = run("tune", made / "hard.csv", "--model", CHAIN, *small, *QUICK, "--augment", "flip")
    assert result.exit_code == 0, result.output
    assert "60 images" in result.stderr
    assert "; images decoded in each epoch, augmented by flip\n" in result.stderr
    assert "\nwhole network: 40 images of 3 classes" in result.stdout
    assert TunedTail.load("tail-network.safetensors").features.recipe is None
    rest = (*small, *QUICK)
    plain = run("tune", made / "hard.csv", "--model", CHAIN, *rest, "--augment", "none", "-o", "p")
    assert plain.exit_code == 0, plain.output
    views = run("tune", made / "hard.csv", "--model", CHAIN, *rest, "--views", 2, "-o", "v")
    assert views.exit_code == 0, views.output
    assert "by the mean of 2 views" in views.stdout


def test_errors_are_one_line(run: Run, made: Path, maps: Path, tmp_path: Path) -> None:
    diverged = run("tune", maps, *QUICK, "--lr", 1e6, "--optimizer", "sgd")
    assert (diverged.exit_code, diverged.stdout) == (1, "")
    *_, line = diverged.stderr.splitlines()
    assert line.startswith("error: every training diverged")
    assert line.endswith("give a smaller --lr")
    assert not (tmp_path / "tail-2.safetensors").exists()
    refused(run("tune", maps, "--layer", "3", *QUICK), "unknown layer", "'3'", code=2)
    refused(run("tune", maps, "--crop", 32, *QUICK), "it is for images", code=2)
    refused(run("tune", maps, "--epochs", 0), "--epochs 0", code=2)
    refused(run("tune", made / "hard.csv", *QUICK), "--model", code=2)
    (tmp_path / "t").touch()
    refused(run("tune", maps, *QUICK, "-o", "t"), "t exists", "--overwrite")
    pooled = maps_cache(made / "hard.csv", tmp_path / "pooled", pool="avg", count=1)
    refused(run("tune", pooled.path, *QUICK), "pooled by 'avg'", "--pool none")
