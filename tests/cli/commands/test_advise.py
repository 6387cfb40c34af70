"""`bottleneck advise`."""

import json
import shlex
from pathlib import Path

import pytest

from bottleneck.fitting import SearchOptions
from tests.helpers.cli import refused
from tests.helpers.codes import layered_cache
from tests.helpers.fixture_types import Run


@pytest.fixture(autouse=True)
def quick_search(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two values of C: which is the best is not what is tested here."""
    monkeypatch.setattr("bottleneck.advising.strategies.SEARCH", SearchOptions(c=[0.01, 0.1]))


def test_the_text_and_the_json_say_the_same_and_the_command_runs(run: Run, tmp_path: Path) -> None:
    cache = layered_cache(tmp_path / "the cache", 90, early=1.0, late=3.0, views=2)
    text = run("advise", cache)
    assert text.exit_code == 0, text.output
    sections = text.stdout.split("\n\n")
    assert sections[0].startswith("examined: 72 training images of 3 classes, 2 layers, 2 views")
    assert "18 images of test were not looked at" in sections[0]
    assert sections[-2].startswith("not measured: training of the network (`bottleneck tune`")
    found = json.loads(run("advise", cache, "--json").stdout)
    assert found["not_measured"][0].startswith(
        "training of the network (`bottleneck tune`, then --tuned"
    )
    assert sections[-1] == "  " + "\n  ".join(found["commands"]) + "\n"
    assert found["recommendation"]["text"][:40] in text.stdout
    assert [row["recommended"] for row in found["strategies"]].count(True) == 1
    program, *words = shlex.split(found["commands"][-1])
    assert program == "bottleneck"
    assert run(*words).exit_code == 0


def test_commands_have_the_options_of_extract(run: Run, tmp_path: Path) -> None:
    cache = layered_cache(tmp_path / "cache", 150, early=2.2, late=0.2, d=60)
    found = json.loads(run("advise", cache, "--json").stdout)
    assert found["recommendation"]["kind"] == "views"
    assert found["commands"][0] == (
        f"bottleneck extract IMAGES -o {cache} --model net --layer layer1 --layer layer2 "
        "--weights none --views 5 --augment flip --augment crop"
    )
    assert found["commands"][1] == f"bottleneck advise {cache}"


def test_mistakes_are_one_line(run: Run, tmp_path: Path) -> None:
    cache = layered_cache(tmp_path / "cache", 30, early=1.0, late=3.0)
    refused(run("advise", "nowhere"), "nowhere")
    refused(run("advise", cache, "--layer", "layer3"), "unknown layer", "layer2", code=2)
    refused(run("advise", cache, "--tuned", "no.safetensors"), "no.safetensors")
