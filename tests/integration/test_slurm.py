"""Arrays on a real Slurm: whatever happens to their tasks, the cache is what it should be."""

import json
import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import h5py
import numpy as np
import psutil
import pytest
from click.testing import CliRunner
from safetensors import safe_open

from bottleneck.cli import main
from bottleneck.runtime.schedulers.slurm import PROGRAM, quote_args
from tests.helpers import slurm as slurm_kit
from tests.helpers.photographs import write_photographs
from tests.helpers.slurm import ended, facts, slurm, wait_for

pytestmark = pytest.mark.skipif(bool(slurm_kit.why_not()), reason=slurm_kit.why_not())

ROWS, SHARD_ROWS = 36, 1
SHARDS = ROWS // SHARD_ROWS

# A task that has made a shard waits, while there is a file `hold`, for what the test does to it.
HELD = """
import os, time
from pathlib import Path
from tests.helpers.tiny_networks import Plain

class Held(Plain):
    def forward(self, x):
        task = int(os.environ.get("SLURM_ARRAY_TASK_ID", "-1"))
        tasks = int(os.environ.get("SLURM_ARRAY_TASK_COUNT", "1"))
        shards = Path("photos.cache/codes/layer3").glob("0*.h5")
        if float(x.sum()) and any(int(path.stem) % tasks == task for path in shards):
            while Path("hold").exists():
                time.sleep(0.05)
        return super().forward(x)
"""

EXTRACT = (
    *("extract", "photos", "-o", "photos.cache", "--model", "held.py:Held", "--layer", "layer2"),
    *("--layer", "layer3", "--resize", "32", "--crop", "32", "--shard-size", SHARD_ROWS),
    *("--precision", "float32"),
)
FIT = (
    "fit",
    "photos.cache",
    "--clf",
    "svm",
    "--layer",
    "layer3",
    "--cv",
    "2",
    "--c",
    "1",
    "-o",
    "new.head",
)


@pytest.fixture(scope="module", autouse=True)
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Slurm, for all tests of this file."""
    with slurm(tmp_path_factory.mktemp("slurm")):
        paths = [str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")]
        os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
        yield


def bottleneck(*words: object, code: int = 0) -> str:
    """Run a command in this process, to the end that is expected; what it prints."""
    done = CliRunner().invoke(main, [str(word) for word in words])
    assert done.exit_code == code, done.output
    return done.stdout


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Photographs and a network, and what this process makes of them without Slurm."""
    folder = tmp_path_factory.mktemp("alone")
    for k, label in enumerate(("ants", "bees", "wasps")):
        write_photographs(folder / "photos" / label, ROWS // 3, label=label, first_seed=100 * k)
    (folder / "held.py").write_text(HELD)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for words in (EXTRACT, FIT):
            bottleneck(*words)
    return folder


@pytest.fixture
def place(alone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with the same photographs and network."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(alone / "photos", tmp_path / "photos")
    shutil.copy(alone / "held.py", tmp_path)
    return tmp_path


def submit(*words: object) -> str:
    return bottleneck("submit", "slurm", "--submit", *words).strip()


def made(place: Path, task: int, tasks: int) -> int:
    """How many shards a task has made."""
    names = (f"{shard:05d}.h5" for shard in range(task, SHARDS, tasks))
    return sum((place / "photos.cache" / "codes" / "layer3" / name).exists() for name in names)


def kill(array: str, task: int, tasks: int) -> None:
    """End a task's run as the kernel does when memory runs out."""
    words = ["extract", "--task", f"{task}/{tasks}"]
    (found,) = [
        process
        for process in psutil.process_iter()
        if process.status() != psutil.STATUS_ZOMBIE and process.cmdline()[4:7] == words
    ]
    found.send_signal(signal.SIGKILL)
    found.wait(10)


def spare(array: str, task: int, tasks: int) -> None:
    """Do nothing to a task."""


def warn(array: str, task: int, tasks: int) -> None:
    """Signal a task as Slurm does before its time is over."""
    slurm_kit.ask("scancel", "--batch", "--signal=USR1", f"{array}_{task}")
    time.sleep(3)  # for this signal, and those of others before it, to arrive


def cancel(array: str, task: int, tasks: int) -> None:
    slurm_kit.ask("scancel", f"{array}_{task}")


def requeue(array: str, task: int, tasks: int) -> None:
    """Queue a task again, as when another job has precedence."""
    slurm_kit.ask("scontrol", "requeue", f"{array}_{task}")


# What disrupts a task, with facts about it afterwards, what its first run says, and whether it
# comes to its end by itself.
AGAIN = {"ExitCode": "0:0", "Restarts": "1"}
DISRUPTIONS: dict[Callable[[str, int, int], None], tuple[dict[str, str], str, bool]] = {
    kill: ({"ExitCode": "137:0"}, "", False),
    spare: ({"ExitCode": "0:0", "Restarts": "0"}, "encoded ", True),
    warn: (AGAIN, "error: stopped: photos.cache holds ", True),
    cancel: ({"JobState": "CANCELLED"}, "error: terminated: photos.cache holds ", False),
    requeue: (AGAIN, "", True),
}


def assert_same_codes(one: Path, other: Path) -> None:
    assert (one / "images.csv").read_text().splitlines()[1:] == (
        (other / "images.csv").read_text().splitlines()[1:]
    )
    with h5py.File(one / "codes.h5") as first, h5py.File(other / "codes.h5") as second:
        assert set(first) == set(second) >= {"layer2", "layer3"}
        for layer in ("layer2", "layer3"):
            codes = first[layer][...]
            assert codes.shape[0] == ROWS
            assert codes.tobytes() == second[layer][...].tobytes()
            assert len(np.unique(codes, axis=0)) == ROWS


@pytest.mark.parametrize(
    "disruptions",
    [[kill, spare], pytest.param([kill, requeue, cancel, warn], marks=pytest.mark.slow)],
)
def test_an_array_comes_to_its_end_whatever_happens_to_its_tasks(
    disruptions: list[Callable[[str, int, int], None]], alone: Path, place: Path
) -> None:
    tasks = len(disruptions)
    (place / "hold").touch()
    array = submit("--tasks", tasks, "--output=task-%a.out", "--", *EXTRACT)
    too_early = submit(f"--dependency=afterany:{array}", "--output=fit-1.out", "--", *FIT)
    wait_for(lambda: all(made(place, k, tasks) for k in range(tasks)), "a shard of each task")

    for task, disrupt in enumerate(disruptions):
        disrupt(array, task, tasks)
    assert all(made(place, task, tasks) < SHARDS // tasks - 2 for task in range(tasks))
    (place / "hold").unlink()

    # The fit finds out by itself that it is too early.
    wait_for(lambda: ended(array, too_early), "the array and the fit")
    left = []
    for task, disrupt in enumerate(disruptions):
        expected, said, ends = DISRUPTIONS[disrupt]
        known = facts(f"{array}_{task}")
        assert {name: known[name] for name in expected} == expected
        output = (place / f"task-{task}.out").read_text()
        assert said in output
        whole = f"encoded {ROWS // tasks} images" in output
        assert whole == (disrupt is spare)  # a second run goes on
        left += [] if ends else [str(task)]
    assert facts(too_early)["ExitCode"] == "3:0"
    assert not (place / "new.head").exists()

    # What is left is told as an array, and only that is submitted again.
    status = ("status", "photos.cache", "--layer", "layer3", "--tasks", tasks)
    rest = f"--array={','.join(left)}"
    assert f"tasks left of {tasks}: {rest}" in bottleneck(*status, code=3)
    again = submit("--tasks", tasks, rest, "--output=again.out", "--", *EXTRACT)
    fit = submit(f"--dependency=afterany:{again}", "--output=fit-2.out", "--", *FIT)
    wait_for(lambda: ended(again, fit), "the rest")
    assert facts(fit)["ExitCode"] == "0:0", (place / "fit-2.out").read_text()
    assert "tasks left" not in bottleneck(*status)

    assert_same_codes(place / "photos.cache", alone / "photos.cache")
    with (
        safe_open(place / "new.head", framework="numpy") as one,
        safe_open(alone / "new.head", framework="numpy") as other,
    ):
        for name in ("coef", "intercept", "mean", "scale"):
            np.testing.assert_array_equal(one.get_tensor(name), other.get_tensor(name))


@pytest.mark.slow
def test_ranks_within_a_job_take_a_part_each(alone: Path, place: Path) -> None:
    words = quote_args([*PROGRAM, *map(str, EXTRACT), "--json"])
    job = slurm_kit.ask(
        "sbatch",
        "--parsable",
        f"--chdir={place}",
        "--ntasks=2",
        "--output=job.out",
        f"--wrap=srun --output=rank-%t.out --error=rank-%t.err {words}",
    ).strip()
    wait_for(lambda: ended(job), "two ranks")
    assert facts(job)["ExitCode"] == "0:0", (place / "rank-0.err").read_text()
    found = [json.loads((place / f"rank-{rank}.out").read_text()) for rank in (0, 1)]
    assert [rank["encoded"] for rank in found] == [ROWS // 2, ROWS // 2]
    assert_same_codes(place / "photos.cache", alone / "photos.cache")
