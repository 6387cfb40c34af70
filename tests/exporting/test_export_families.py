"""Every family of the benchmark, exported as ONNX and TorchScript, agrees with `predict`."""

from pathlib import Path

import pytest

from benchmarks.exporting.families import FAMILIES, random_head
from bottleneck.backbones.backbone import load_backbone
from bottleneck.exporting.export import export

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("model", FAMILIES)
def test_a_family(model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    network = load_backbone(model, "none")
    head = random_head(network, FAMILIES[model])
    for name in ("head.onnx", "head.pt"):
        assert export(head, tmp_path / name).difference < 3e-5
