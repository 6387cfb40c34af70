"""Codes by another runtime in a cache: which one made a shard, and that tasks may mix them."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bottleneck.backbones import BatchRunner
from bottleneck.backbones.inference.openvino_replica import openvino_version
from bottleneck.errors import InvalidOptionError
from tests.helpers.fixture_types import Extract


def recorded(cache: Path) -> dict[str, str]:
    """The runtime in the header of each shard, read as `docs/format.md` says."""
    shards = sorted(cache.glob("codes/layer3/*.h5"))
    headers = [json.loads(shard.read_bytes().split(b"\n")[1]) for shard in shards]
    return {
        shard.stem: each.get("runtime", "torch")
        for shard, each in zip(shards, headers, strict=True)
    }


def test_a_shard_says_what_ran_the_network(
    photos: Path, tmp_path: Path, extract_tiny: Extract, monkeypatch: pytest.MonkeyPatch
) -> None:
    def choose(self: BatchRunner, runtime: str, images: int, *, batch_size: int) -> None:
        assert (runtime, images, batch_size) == ("auto", 36, self.default_batch_size)
        self.runtime = dataclasses.replace(self.runtime, name="other 1.0", note="runtime: other")

    assert extract_tiny(photos, tmp_path / "plain", layers=["layer3"]).notes == ()
    assert set(recorded(tmp_path / "plain").values()) == {"torch"}
    monkeypatch.setattr(BatchRunner, "choose_runtime", choose)
    made = extract_tiny(photos, layers=["layer3"])
    assert made.notes == ("runtime: other",)
    assert set(recorded(tmp_path / "cache").values()) == {"other 1.0"}


def test_nothing_is_written_if_openvino_cannot_be_had(
    photos: Path, tmp_path: Path, extract_tiny: Extract, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = "bottleneck.backbones.inference.runtime_choice"
    monkeypatch.setattr(f"{module}.openvino_version", lambda: "")
    with pytest.raises(InvalidOptionError, match="not installed"):
        extract_tiny(photos, runtime="openvino")
    assert not (tmp_path / "cache").exists()


@pytest.mark.skipif(not openvino_version(), reason="OpenVINO is not installed")
def test_tasks_may_mix_runtimes(photos: Path, tmp_path: Path, extract_tiny: Extract) -> None:
    options: dict[str, Any] = {"layers": ["layer3"], "dtype": "float32"}
    plain = extract_tiny(photos, tmp_path / "plain", runtime="torch", **options).cache
    extract_tiny(photos, runtime="torch", task=(0, 2), **options)
    mixed = extract_tiny(photos, runtime="openvino", task=(1, 2), **options).cache
    by = recorded(tmp_path / "cache")
    assert set(by.values()) == {"torch", f"openvino {openvino_version()}"}
    expected, found = (cache.load("layer3")[0] for cache in (plain, mixed))
    assert np.linalg.norm(found - expected) <= 1e-4 * np.linalg.norm(expected)
