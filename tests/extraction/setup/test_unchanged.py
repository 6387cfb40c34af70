"""A run that finds nothing to do loads no network, and one that finds another spec does."""

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision

from bottleneck.backbones.sources.torchvision_models import TorchvisionModel
from bottleneck.errors import SpecMismatchError
from bottleneck.extraction.extract import extract
from bottleneck.extraction.options import ComputeOptions
from tests.helpers.photographs import write_photographs

CPU = ComputeOptions(device="cpu")
SMALL = {"resize": 40, "crop": 32}


def arguments(folder: Path, weights: Path) -> dict[str, Any]:
    return {
        "images": folder / "photos",
        "out": folder / "cache",
        "model": "squeezenet1_1",
        "weights": weights,
        "layers": ["features.3"],
        "transform": SMALL,
    }


@pytest.fixture(scope="module")
def made_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of photographs, weights, and their cache."""
    folder = tmp_path_factory.mktemp("made")
    torch.manual_seed(1)
    write_photographs(folder / "photos", 4, label="ants")
    torch.save(torchvision.models.squeezenet1_1().state_dict(), folder / "weights.pth")
    extract(**arguments(folder, folder / "weights.pth"), compute=CPU)
    return folder


@pytest.fixture
def request_of(made_once: Path, tmp_path: Path) -> dict[str, Any]:
    """Arguments of an extraction that was made once, of the same file of weights."""
    for name in ("photos", "cache"):
        shutil.copytree(made_once / name, tmp_path / name)
    return arguments(tmp_path, made_once / "weights.pth")


@pytest.fixture
def loaded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The networks that are loaded from now on."""
    seen: list[str] = []
    build = TorchvisionModel.build

    def build_and_note(self: Any, weights: str) -> Any:
        seen.append(self.name)
        return build(self, weights)

    monkeypatch.setattr(TorchvisionModel, "build", build_and_note)
    return seen


def test_nothing_to_do_needs_no_network(request_of: dict[str, Any], loaded: list[str]) -> None:
    again = extract(**request_of, compute=CPU)
    assert (again.rows, again.cache.status().layers["features.3"].done) == (0, 4)
    assert not loaded


def test_a_removed_image_needs_none_either(
    request_of: dict[str, Any], loaded: list[str], tmp_path: Path
) -> None:
    next((tmp_path / "photos").iterdir()).unlink()
    again = extract(**request_of, compute=CPU)
    assert (again.changes.removed, again.rows) == (1, 0)
    assert not loaded


def test_missing_images_and_layers_are_encoded(
    request_of: dict[str, Any], loaded: list[str], tmp_path: Path
) -> None:
    write_photographs(tmp_path / "photos", 1, label="bees", first_seed=9)
    assert extract(**request_of, compute=CPU).rows == 5  # the shard is made whole
    assert extract(**request_of | {"layers": ["features.3", "features.4"]}, compute=CPU).rows == 5
    assert len(loaded) == 2


@pytest.mark.parametrize(
    "change",
    [
        {"transform": SMALL | {"crop": 36}},
        {"transform": SMALL | {"decoder": "fast"}},
        {"relu": False},
        {"pool": "max"},
        {"compute": ComputeOptions(device="cpu", precision="float16")},
        {"weights": "none"},
    ],
    ids=lambda change: next(iter(change)),
)
def test_another_spec_is_refused_after_loading(
    request_of: dict[str, Any], loaded: list[str], change: dict[str, Any]
) -> None:
    with pytest.raises(SpecMismatchError):
        extract(**{"compute": CPU} | request_of | change)
    assert loaded


def test_other_weights_in_the_same_file_are_refused(
    request_of: dict[str, Any], tmp_path: Path
) -> None:
    shutil.copy(request_of["weights"], tmp_path / "weights.pth")
    request_of["weights"] = tmp_path / "weights.pth"
    assert extract(**request_of, compute=CPU).rows == 0  # from now on they are known
    torch.save(torchvision.models.squeezenet1_1().state_dict(), tmp_path / "weights.pth")
    for _ in range(2):  # the second time they are known
        with pytest.raises(SpecMismatchError, match="weights_digest"):
            extract(**request_of, compute=CPU)


def test_pytorch_is_not_imported(request_of: dict[str, Any]) -> None:
    values = {
        name: str(value) if name != "transform" else value
        for name, value in request_of.items()
        if name != "layers"
    }
    code = (
        "import sys, bottleneck as bn\n"
        f"print(bn.extract(**{values!r}, layers=['features.3']).rows, 'torch' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True
    )
    assert done.stdout.split() == ["0", "False"]
