"""The precision of a run: the fastest that the network runs in, and a word if it is float32."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from bottleneck.cache.format.manifest import manifest_text
from bottleneck.cache.store import open_cache
from bottleneck.errors import (
    BackboneError,
    InvalidOptionError,
    NonFiniteCodesError,
    PrecisionError,
    SpecMismatchError,
)
from bottleneck.extraction.extract import extract
from bottleneck.extraction.plan import plan
from bottleneck.extraction.result import ExtractionProgress
from bottleneck.extraction.setup import precision as module
from tests.helpers import brought_networks as brought
from tests.helpers.fixture_types import Run
from tests.helpers.options import grouped
from tests.helpers.photographs import write_photographs
from tests.helpers.tiny_networks import Branching, Plain

SMALL = {"resize": brought.SIDE, "crop": brought.SIDE}


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    write_photographs(tmp_path / "photos" / "ants", 5, label="ants", first_seed=0)
    return tmp_path / "photos"


def extracted(photos: Path, model: nn.Module | str, layer: str, **options: Any) -> Any:
    values = {"model": model, "layers": [layer], "transform": SMALL, "device": "cpu"}
    return extract(photos, photos.parent / "cache", **grouped(values | options))


@pytest.mark.usefixtures("bfloat16_processor")
@pytest.mark.parametrize(
    ("make", "layer", "operation"),
    [(brought.fourier, "norm", "torch.fft.rfft2"), (brought.constants, "one", "conv2d")],
)
def test_auto_goes_on_in_float32_and_names_the_operation(
    photos: Path, make: Callable[[], nn.Module], layer: str, operation: str
) -> None:
    seen: list[ExtractionProgress] = []
    network = make()
    result = extracted(photos, network, layer, on_progress=seen.append)
    assert result.cache.spec.precision == "float32"
    (note,) = result.notes
    assert note.startswith("precision: float32, because ")
    assert operation in note
    assert "\n" not in note
    assert seen[0].notes == result.notes == tuple(result.to_dict()["notes"])
    again = extracted(photos, network, layer)  # the cache's own precision, of which nothing is said
    assert (again.rows, again.notes) == (0, ())
    assert plan(photos, model=network, layers=[layer], transform=SMALL).notes == result.notes


def test_codes_in_an_unknown_precision_of_a_cache_are_not_made_in_another(photos: Path) -> None:
    cache = extracted(photos, Plain(), "layer2", precision="float32").cache
    manifest = replace(cache.manifest, spec=replace(cache.spec, precision="float8"))
    (cache.path / "spec.json").write_text(manifest_text(manifest))  # as a later program might
    with pytest.raises(InvalidOptionError, match=r"`precision='float8'`: must be one of auto"):
        extracted(photos, Plain(), "layer2")


@pytest.mark.usefixtures("bfloat16_processor")
@pytest.mark.parametrize("make", [Plain, Branching])
def test_auto_is_the_fastest_for_a_network_that_runs_in_it(
    photos: Path, make: Callable[[], nn.Module]
) -> None:
    result = extracted(photos, make(), "layer2")
    assert (result.cache.spec.precision, result.notes) == ("bfloat16", ())


@pytest.mark.usefixtures("bfloat16_processor")
def test_auto_does_not_take_codes_for_rounding_that_are_none(
    photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_LARGEST_DEVIATION", 1e-6)
    result = extracted(photos, Branching(), "layer2")
    assert result.cache.spec.precision == "float32"
    assert "the codes of layer2 in bfloat16 differ by" in result.notes[0]


@pytest.mark.usefixtures("bfloat16_processor")
def test_a_precision_that_was_asked_for_is_an_error_and_leaves_nothing(photos: Path) -> None:
    network = brought.fourier()
    with pytest.raises(PrecisionError, match=r"rfft2.*`precision=float32` works"):
        extracted(photos, network, "norm", precision="bfloat16")
    assert not (photos.parent / "cache").exists()
    assert extracted(photos, network, "norm", precision="float32").rows == 5


def test_a_code_that_is_no_function_of_its_image_leaves_nothing(photos: Path) -> None:
    with pytest.raises(BackboneError, match="no function of the image"):
        extracted(photos, brought.batch_statistics(), "end", precision="float32")
    assert not (photos.parent / "cache").exists()


def test_a_run_that_failed_before_its_first_shard_binds_nothing(photos: Path) -> None:
    poisoned = Plain()
    with torch.no_grad():
        poisoned.get_parameter("layer1.0.weight").fill_(torch.nan)
    for broken in (poisoned, poisoned):
        with pytest.raises(NonFiniteCodesError):
            extracted(photos, broken, "layer2", precision="float32")
    assert extracted(photos, Plain(), "layer2", precision="bfloat16").rows == 5
    with pytest.raises(SpecMismatchError):  # now it has codes
        extracted(photos, Plain(), "layer2", precision="float32")


def test_codes_of_a_network_that_views_its_maps(photos: Path) -> None:
    network = brought.views()
    cache = extracted(photos, network, "fc", precision="float32", dtype="float32").cache
    found, _ = open_cache(cache.path).load("fc")
    assert found.shape == (5, 4)
    assert np.isfinite(found).all()


@pytest.mark.usefixtures("bfloat16_processor")
def test_the_command_notes_float32_in_one_line(photos: Path, run: Run, tmp_path: Path) -> None:
    code = "from tests.helpers.brought_networks import fourier\n"
    (tmp_path / "net.py").write_text(code)
    command = ["extract", photos, "-o", tmp_path / "c", "--model", f"{tmp_path}/net.py:fourier"]
    size = ["--layer", "norm", "--crop", "16", "--resize", "16", "--device", "cpu"]
    done = run(*command, *size, "--json")
    assert done.exit_code == 0, done.output
    lines = [line for line in done.stderr.splitlines() if "float32" in line]
    assert len(lines) == 1
    assert json.loads(done.stdout)["notes"] == lines
    failed = run(*command, *size, "-o", tmp_path / "d", "--precision", "bfloat16")
    assert failed.exit_code == 1
    _found, line = failed.stderr.splitlines()
    assert line.endswith("--precision float32 works") or "`--precision float32`" in line, line
