"""`bottleneck tune`."""

import importlib
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import Result

from bottleneck.cli.interrupts import Terminated
from bottleneck.finetuning.training import choice
from bottleneck.finetuning.training.run import TrainingProgress
from bottleneck.finetuning.tuned_tail import TunedTail
from tests.helpers import searches
from tests.helpers.cli import refused
from tests.helpers.fixture_types import Run
from tests.helpers.networks import PLAIN
from tests.helpers.tuning import CHAIN, hard_images, maps_cache

few_cs, one_trial = searches.few_cs, searches.one_trial
command = importlib.import_module("bottleneck.cli.commands.tune")  # the module, not its command
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


def test_from_a_cache_to_predictions(
    run: Run, made: Path, maps: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(choice, "_ENOUGH", 16)  # two trials of 8 images
    result = run("tune", maps, *QUICK)
    assert result.exit_code == 0, result.output
    *_, verdict, saved, groups = result.stdout.splitlines()
    assert verdict.startswith("take the ")
    assert groups.startswith("20 images are of a group that training images have too")
    assert saved.startswith("saved tail-2.safetensors (")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["maps", "tail-2.safetensors"]
    said, *trainings = result.stderr.splitlines()
    assert re.fullmatch(
        r"tail behind 2: \d+ parameters, \d+% of the multiply-adds; maps of [\d×]+ of 60 images "
        r"in memory \(.* kB\)",
        said,
    )
    # Where training was no better than the start, there is no last one.
    trained = "training was no better than its start" not in result.stdout
    last = ["training 3 of up to 3: 40 images, a learning rate of 0.001"] * trained
    trials = "training {} of up to 3: 32 images, 8 kept back, a learning rate of 0.001"
    assert trainings == [trials.format(number) for number in (1, 2)] + last
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
    del values["head"], values["heldout"]["confusion"], values["linear"]["confusion"]
    assert recorded == values


def test_a_whole_network_from_images(run: Run, made: Path) -> None:
    small = ("--resize", 32, "--crop", 32, *QUICK, "--epochs", 1)
    augment = ("--augment", "flip", "--augment", "color")
    result = run("tune", made / "hard.csv", "--model", CHAIN, *small, *augment)
    assert result.exit_code == 0, result.output
    assert "60 images" in result.stderr
    assert "; images decoded in each epoch, augmented by flip,color\n" in result.stderr
    assert "\nwhole network: 40 images of 3 classes" in result.stdout
    assert TunedTail.load("tail-network.safetensors").features.recipe is None
    plain = run("tune", made / "hard.csv", "--model", CHAIN, *small, "--augment", "none", "-o", "p")
    assert plain.exit_code == 0, plain.output
    views = run("tune", made / "hard.csv", "--model", CHAIN, *small, "--views", 2, "-o", "v")
    assert views.exit_code == 0, views.output
    assert "by the mean of 2 views" in views.stdout


def stopped(run: Run, maps: Path, sent: type[KeyboardInterrupt]) -> Result:
    """What a training says that is interrupted in its second epoch."""

    def interrupt(progress: TrainingProgress) -> None:
        if progress.epoch == 2:
            raise sent

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(command, "tuning_progress", lambda: nullcontext(interrupt))
        return run("tune", maps, *QUICK)


@pytest.mark.parametrize(
    ("sent", "word", "code"),
    [(KeyboardInterrupt, "interrupted", 130), (Terminated, "terminated", 143)],
)
def test_an_interrupt_is_one_line_and_the_same_command_goes_on(
    run: Run, maps: Path, sent: type[KeyboardInterrupt], word: str, code: int
) -> None:
    said = stopped(run, maps, sent)
    assert (said.exit_code, said.stdout) == (code, "")
    kept = "what was finished is kept, the same command goes on"
    assert said.stderr == f"error: {word}: {kept}\n"
    assert names() == ["maps", "tail-2.safetensors.training"]
    result = run("tune", maps, *QUICK)
    assert result.exit_code == 0, result.output
    assert ", 8 kept back, a learning rate of 0.001, from epoch 2 on\n" in result.stderr
    assert names() == ["maps", "tail-2.safetensors"]


def test_overwrite_ends_a_run_that_was_killed_before_its_state_was_removed(
    run: Run, maps: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: object, **__: object) -> None:
        raise Terminated

    with monkeypatch.context() as patch:
        patch.setattr("bottleneck.finetuning.remove_states", killed)
        assert run("tune", maps, *QUICK).exit_code == 143
    assert names() == ["maps", "tail-2.safetensors", "tail-2.safetensors.training"]
    written = TunedTail.load("tail-2.safetensors")
    refused(run("tune", maps, *QUICK), "tail-2.safetensors exists", "--overwrite")
    again = run("tune", maps, *QUICK, "--overwrite")
    assert again.exit_code == 0, again.output
    assert "training " not in again.stderr  # every epoch is in the state
    assert names() == ["maps", "tail-2.safetensors"]
    tensors = TunedTail.load("tail-2.safetensors").tensors
    assert tensors.keys() == written.tensors.keys()
    assert all(np.array_equal(tensors[name], written.tensors[name]) for name in tensors)


def test_a_damaged_state_is_one_line_with_what_to_do(run: Run, maps: Path) -> None:
    stopped(run, maps, KeyboardInterrupt)
    (state,) = Path("tail-2.safetensors.training").rglob("*.safetensors")
    state.write_bytes(state.read_bytes()[:-1])
    refused(run("tune", maps, *QUICK), str(state), "remove it to begin again")
    state.unlink()
    assert run("tune", maps, *QUICK).exit_code == 0


def names() -> list[str]:
    """What the working directory holds."""
    return sorted(path.name for path in Path().iterdir())


def test_errors_are_one_line(run: Run, made: Path, maps: Path, tmp_path: Path) -> None:
    diverged = run("tune", maps, *QUICK, "--lr", 1e6, "--optimizer", "sgd")
    assert (diverged.exit_code, diverged.stdout) == (1, "")
    *_, line = diverged.stderr.splitlines()
    assert line.startswith("error: every training diverged")
    assert line.endswith("give a smaller --lr")
    assert not (tmp_path / "tail-2.safetensors").exists()
    refused(run("tune", maps, "--layer", "3", *QUICK), "unknown layer", "'3'", code=2)
    left_out = "must be left out: it is for images"
    refused(run("tune", maps, "--crop", 32, *QUICK), f"--crop 32: {left_out}", code=2)
    refused(run("tune", maps, "--augment", "flip", *QUICK), f"--augment flip: {left_out}", code=2)
    refused(run("tune", maps, "--epochs", 0), "--epochs 0", code=2)
    refused(run("tune", maps, "--hidden", 8), "--hidden 8: must be given with --init mlp", code=2)
    refused(run("tune", made / "hard.csv", *QUICK), "--model", code=2)
    (tmp_path / "t").touch()
    refused(run("tune", maps, *QUICK, "-o", "t"), "t exists", "--overwrite")
    pooled = maps_cache(made / "hard.csv", tmp_path / "pooled", pool="avg", count=1)
    refused(run("tune", pooled.path, *QUICK), "pooled by 'avg'", "--layer 2@none")


@pytest.mark.slow
def test_two_processes_of_torchrun_give_the_result_of_one(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A step has all images, half of them in each process: then the mean gradient is that of one
    # process with batches twice as large. There is no dropout, which each process draws for itself.
    maps = maps_cache(made / "hard.csv", tmp_path / "maps", model=PLAIN, layers=["layer1"], count=1)
    monkeypatch.chdir(tmp_path)
    options = ("tune", maps.path, "--device", "cpu", "--epochs", 6, "--lr", 0.003, "--json")

    def values(launcher: Sequence[str], batch_size: int, out: str) -> Any:
        words = (*launcher, "-m", "bottleneck", *options, "--batch-size", batch_size, "-o", out)
        command_line = [sys.executable, *map(str, words)]
        return json.loads(subprocess.run(command_line, check=True, capture_output=True).stdout)

    torchrun = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
    # Of the two, one prints. Both searches are in new processes, with the same values of C.
    one, two = values((), 40, "alone"), values(torchrun, 20, "both")
    assert two["heldout"]["confusion"] == one["heldout"]["confusion"]
    assert two["run"]["curves"][-1]["epoch"] == one["run"]["curves"][-1]["epoch"] > 0
    losses = [
        [scores["loss"] for scores in values["choice"]["trials"][0]["curves"][1:]]
        for values in (one, two)
    ]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)
    first, second = (TunedTail.load(name).tensors for name in ("alone", "both"))
    for name, tensor in first.items():
        np.testing.assert_allclose(second[name], tensor, rtol=1e-3, atol=1e-5, err_msg=name)
    assert names() == ["alone", "both", "maps"]
