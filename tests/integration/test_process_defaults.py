"""Verbs in a process whose defaults for new tensors are other than PyTorch's own."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from bottleneck.backbones.layer_table import layers
from bottleneck.exporting.export import export
from bottleneck.extraction.extract import extract
from bottleneck.extraction.options import ComputeOptions
from bottleneck.extraction.plan import plan
from bottleneck.finetuning.options import TuneOptions
from bottleneck.finetuning.tune import tune
from bottleneck.fitting.fit import fit
from bottleneck.fitting.selection.options import SearchOptions
from bottleneck.prediction.evaluate import evaluate
from bottleneck.prediction.predict import predict
from tests.helpers.networks import SMALL
from tests.helpers.tiny_networks import plain

CPU = ComputeOptions(device="cpu", precision="float32")
# AdamW of PyTorch 2.10 counts steps in a tensor on the default device; "meta" has no values.
QUICK = TuneOptions(epochs=1, lr=1e-3, device="cpu", optimizer="sgd")


@contextmanager
def float64() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)


def another_device() -> AbstractContextManager[object]:
    """A device on which none of the program's own tensors may be, as that of a GPU."""
    return torch.device("meta")


@contextmanager
def both() -> Iterator[None]:
    with float64(), another_device():
        yield


DEFAULTS = pytest.mark.parametrize(
    "defaults",
    [both, *(pytest.param(each, marks=pytest.mark.slow) for each in (float64, another_device))],
)


@DEFAULTS
@pytest.mark.parametrize("runtime", ["torch", "openvino"])
def test_codes_do_not_depend_on_them(
    defaults: Callable[[], AbstractContextManager[object]],
    runtime: str,
    photos: Path,
    tmp_path: Path,
) -> None:
    if runtime == "openvino":
        pytest.importorskip("openvino")
    network, compute = plain(), ComputeOptions(device="cpu", precision="float32", runtime=runtime)

    def codes(out: Path) -> NDArray[np.float32]:
        options: dict[str, Any] = {"model": network, "layers": ["layer2"], "transform": SMALL}
        assert plan(photos, compute=compute, **options).rows == 36
        cache = extract(photos, out, compute=compute, **options).cache
        return np.asarray(cache.load("layer2")[0])

    expected = codes(tmp_path / "expected")
    with defaults():
        assert len(layers(network)) > 2
        found = codes(tmp_path / "found")
    np.testing.assert_array_equal(found, expected)


@DEFAULTS
@pytest.mark.parametrize("name", ["head.pt", pytest.param("head.onnx", marks=pytest.mark.slow)])
def test_predictions_and_exported_files_do_not_depend_on_them(
    defaults: Callable[[], AbstractContextManager[object]],
    name: str,
    photos: Path,
    tmp_path: Path,
) -> None:
    network = plain()
    given: dict[str, Any] = {"model": network, "layers": ["layer2"], "transform": SMALL}
    cache = extract(photos, tmp_path / "cache", compute=CPU, **given).cache
    head = fit(cache, "softmax", layers="layer2", search=SearchOptions(c=(1.0,))).head

    def scores() -> list[dict[str, float]]:
        return [each.scores for each in predict(head, photos / "val", model=network, compute=CPU)]

    expected = scores()
    with defaults():
        assert scores() == expected
        assert export(head, tmp_path / name, model=network).difference < 1e-4


@DEFAULTS
@pytest.mark.parametrize("on_maps", [True, False])
def test_a_tail_is_trained_in_float32_on_its_device(
    defaults: Callable[[], AbstractContextManager[object]],
    on_maps: bool,
    photos: Path,
    tmp_path: Path,
) -> None:
    network: dict[str, Any] = {"model": plain()}
    given: dict[str, Any] = network | {"transform": SMALL}
    with defaults():
        if on_maps:
            maps = tmp_path / "maps"
            extract(photos, maps, layers=["layer2"], pool="none", compute=CPU, **given)
            tail = tune(maps, options=QUICK, **network).tail
        else:
            tail = tune(photos, options=QUICK, **given).tail
        score = evaluate(tail, photos, compute=CPU, **network).score
    assert {tensor.dtype for tensor in tail.tensors.values()} <= {np.dtype("f4"), np.dtype("i8")}
    assert score.to_dict() == evaluate(tail, photos, compute=CPU, **network).score.to_dict()
