"""`bottleneck export`."""

import json
from pathlib import Path

import pytest
import torch

from tests.helpers import cli
from tests.helpers.cli import refused
from tests.helpers.fixture_types import Run

made, photos, cache = cli.made, cli.photos, cli.cache


@pytest.fixture
def head(run: Run, cache: Path) -> Path:
    run("fit", cache, "--clf", "softmax", "--layer", "layer2", "--c", "0.1", "--cv", "0", "-o", "h")
    return Path("h")


@pytest.mark.filterwarnings("ignore:.torch.jit.load. is deprecated")
def test_the_exported_file_is_described_and_runs(run: Run, head: Path, photos: Path) -> None:
    result = run("export", head, "-o", "h.pt", "--check", photos / "val", "--input", "float")
    assert result.exit_code == 0, result.output
    first, second = result.stdout.splitlines()
    assert first.startswith("TorchScript h.pt: ")
    assert second.startswith(
        "float32, 0…1, batch × 3 × 32 × 32 → probabilities, which differ by at most "
    )
    assert second.endswith(" on 12 images")
    module = torch.jit.load("h.pt")  # type: ignore[no-untyped-call, unused-ignore]
    scores, labels = module(torch.rand(3, 3, 32, 32))
    assert (scores.shape, labels.shape) == ((3, 3), (3,))


def test_json(run: Run, head: Path) -> None:
    result = run("export", head, "-o", "h.pt", "--json")
    assert result.exit_code == 0, result.output
    said = json.loads(result.stdout)
    assert (said["format"], said["input"], said["shape"]) == (
        "TorchScript",
        "uint8",
        ["batch", 32, 32, 3],
    )
    assert said["bytes"] == Path("h.pt").stat().st_size


def test_errors_are_one_line(run: Run, head: Path) -> None:
    Path("there.pt").write_bytes(b"kept")
    refused(run("export", head, "-o", "there.pt"), "there.pt exists", "--overwrite")
    refused(run("export", head, "-o", "h.pkl"), "-o h.pkl", ".onnx (ONNX)", code=2)
    refused(run("export", head, "-o", "h.pt", "--views", 2), "--views 2: must be 1", code=2)
    refused(run("export", "absent", "-o", "h.pt"), "no head at absent")
    refused(run("export", head, "-o", "h.skops", "--model", "x"), "--model x: must be", code=2)
    refused(run("predict", "absent.onnx", "x.jpg"), "no exported network at absent.onnx")
    assert Path("there.pt").read_bytes() == b"kept"
    assert not list(Path().glob("h.*"))
