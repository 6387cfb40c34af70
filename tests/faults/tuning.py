"""Attacks on `bottleneck tune`: killed and started again, it ends as an undisturbed run does."""

import errno
import json
import signal
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import safe_open

from tests.faults.attacks import ENDS, signal_child
from tests.faults.child import Fault, printed, run, start, steps
from tests.helpers.forked import start_server
from tests.helpers.tuning import hard_images, maps_cache

_RESULT = "tail.safetensors"


@dataclass(frozen=True)
class TuningWorkshop:
    """A cache of maps, and what an undisturbed run makes of it.

    Attributes
    ----------
    place : Path
    steps : int
        By how many calls that run may change the disk.
    seconds : float
        That it takes.
    """

    place: Path
    steps: int
    seconds: float

    def command(self, folder: Path) -> list[object]:
        return _command(self.place, folder)

    def require_truth(self, folder: Path) -> None:
        """The result is whole or absent, and so is each file of the state."""
        result = folder / _RESULT
        if result.exists():
            require_same_result(result, self.place / "reference" / _RESULT)
        for file in result.with_name(f"{_RESULT}.training").rglob("[!.]*.safetensors"):
            assert _content(file)

    def require_completion(self, folder: Path) -> None:
        """The same command ends with the result of the undisturbed run, and leaves nothing else."""
        self.require_truth(folder)
        said = folder.with_suffix(".said")
        assert run(self.command(folder), said) == 0, printed(said)
        require_same_result(folder / _RESULT, self.place / "reference" / _RESULT)
        assert [path.name for path in folder.iterdir()] == [_RESULT], "something was left behind"


def _command(place: Path, folder: Path) -> list[object]:
    """The training that every trial is about: three rates, then all images. A result may exist."""
    return [
        *("tune", place / "maps", "-o", folder / _RESULT, "--overwrite", "--device", "cpu"),
        *("--init", "mlp", "--hidden", 8, "--batch-size", 16, "--epochs", 3),
    ]


@contextmanager
def open_tuning_workshop() -> Iterator[TuningWorkshop]:
    """Sixty images' maps of a tiny network, and the tail that an undisturbed run trains on them."""
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        maps_cache(hard_images(place), place / "maps", count=2)
        start_server("torch._dynamo")  # which each training would import
        (place / "reference").mkdir()
        said, begun = place / "reference.said", time.monotonic()
        assert run(_command(place, place / "reference"), said) == 0, printed(said)
        yield TuningWorkshop(place, steps(said), time.monotonic() - begun)


@contextmanager
def _trial(workshop: TuningWorkshop) -> Iterator[tuple[Path, Path]]:
    """A folder for a result, and where a child's outputs lie."""
    with tempfile.TemporaryDirectory(dir=workshop.place) as name:
        folder = Path(name) / "result"
        folder.mkdir()
        yield folder, folder.with_suffix(".said")


def tuning_killed_at_step(workshop: TuningWorkshop, step: int) -> None:
    """SIGKILL just before the disk changes for the n-th time."""
    with _trial(workshop) as (folder, said):
        code = run(workshop.command(folder), said, Fault("signal", step, signal.SIGKILL))
        assert code == -signal.SIGKILL, printed(said)
        workshop.require_completion(folder)


def tuning_refused_at_step(workshop: TuningWorkshop, step: int) -> None:
    """The disk is full at the n-th change."""
    with _trial(workshop) as (folder, said):
        code = run(workshop.command(folder), said, Fault("error", step, errno.ENOSPC))
        if code:  # the state of a result that stands need not go
            _require_one_line(said)
        workshop.require_completion(folder)


def tuning_stopped_after(
    workshop: TuningWorkshop, moments: Sequence[float], sent: signal.Signals
) -> int:
    """A signal at each of some moments of one training; how many came before its end."""
    came = 0
    with _trial(workshop) as (folder, said):
        for seconds in moments:
            (said / "stderr").unlink(missing_ok=True)  # what the child before it said
            child = start(workshop.command(folder), said, Fault("signal", -1))
            child.join(seconds)
            running = child.exitcode is None
            if running:
                signal_child(child.pid, sent)
            child.join(60)
            # A child that has said nothing may not even have got to `main`.
            begun = (said / "stderr").exists() and printed(said)
            if running and begun and sent in ENDS and child.exitcode:
                assert child.exitcode == ENDS[sent], printed(said)
                _require_one_line(said)
            workshop.require_truth(folder)
            came += child.exitcode != 0
        workshop.require_completion(folder)
    return came


def _require_one_line(said: Path) -> None:
    text = printed(said)
    assert text.splitlines()[-1].startswith("error: "), text
    assert "Traceback" not in text, text


def require_same_result(one: Path, other: Path) -> None:
    """Two files hold the same, bit by bit, but for the seconds that they took."""
    assert _content(one) == _content(other)


def _content(path: Path) -> tuple[dict[str, bytes], Any]:
    with safe_open(path, framework="numpy") as file:
        tensors = {name: file.get_tensor(name).tobytes() for name in file.keys()}  # noqa: SIM118
        metadata = [json.loads(text) for text in file.metadata().values() if text[0] in "{["]
    return tensors, _without_seconds(metadata)


def _without_seconds(value: Any) -> Any:
    if isinstance(value, dict):
        kept = value.keys() - {"seconds", "sha256"}  # the digest is of the seconds too
        return {name: _without_seconds(value[name]) for name in kept}
    return [_without_seconds(v) for v in value] if isinstance(value, list) else value
