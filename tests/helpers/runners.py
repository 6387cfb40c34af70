"""Make batch runners of tiny networks, run them, and compare their codes."""

import functools
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from bottleneck.backbones.backbone import Backbone, load_backbone
from bottleneck.backbones.inference.runner import BatchRunner
from bottleneck.backbones.layers.layer import Layer
from bottleneck.extraction.setup.loading import make_spec
from bottleneck.spec import Spec
from tests.helpers.networks import NETWORKS, PLAIN, SMALL

CPU = torch.device("cpu")
RESIDUAL, BRANCHING = f"{NETWORKS}:residual", f"{NETWORKS}:branching"
LAYERS = {PLAIN: ("layer1", "layer3"), RESIDUAL: ("bn1", "relu_1"), BRANCHING: ("layer1", "layer3")}

Codes = dict[str, NDArray[np.float32]]


Parts = tuple[Backbone, list[Layer], Spec, Sequence[torch.device]]


def parts(
    model: str, *, precision: str = "float32", devices: Sequence[torch.device] = (CPU,)
) -> Parts:
    """What a `BatchRunner` and an `Encoder` are made of."""
    backbone = load_backbone(model, transform=SMALL)
    spec = make_spec(backbone, precision=precision, relu=True, pool="avg")
    return backbone, backbone.select_layers(LAYERS[model]), spec, devices


@functools.cache
def _known(model: str, precision: str) -> Parts:
    return parts(model, precision=precision)


def known_parts(model: str, *, precision: str = "float32", **devices: Any) -> Parts:
    """The same, of a backbone that is loaded once: for who does not change it."""
    backbone, layers, spec, cpu = _known(model, precision)
    return backbone, layers, spec, devices.get("devices", cpu)


def make(model: str = PLAIN, **changes: Any) -> BatchRunner:
    return BatchRunner(*known_parts(model, **changes))


def pixels(count: int) -> Tensor:
    return torch.randint(0, 256, (count, 32, 32, 3), dtype=torch.uint8)


def batches(images: Tensor, size: int) -> list[Tensor]:
    return [images[i : i + size] for i in range(0, len(images), size)]


def joined(parts: list[Codes]) -> Codes:
    return {layer: np.concatenate([part[layer] for part in parts]) for layer in parts[0]}


def run(runner: BatchRunner, images: Tensor, size: int, *, at_once: bool = True) -> Codes:
    with runner.threads() as pool:
        if at_once:
            return joined(list(pool.map(runner.run, batches(images, size))))
        return joined([pool.submit(runner.run, batch).result() for batch in batches(images, size)])


def truth(model: str, images: Tensor) -> Codes:
    """By hooks on the whole network, one image at a time, normalised with numpy."""
    backbone = load_backbone(model, transform=SMALL)
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    found: dict[str, list[Tensor]] = {}
    calls: dict[str, int] = {}

    def keep(name: str) -> Any:
        def hook(_module: Any, _args: Any, output: Tensor) -> None:
            call = calls.get(name, 0)
            calls[name] = call + 1
            code = output.clone().clamp(min=0).mean((2, 3))
            found.setdefault(f"{name}_{call}" if call else name, []).append(code)

        return hook

    for name in {layer.removesuffix("_1") for layer in LAYERS[model]}:
        backbone.network.get_submodule(name).register_forward_hook(keep(name))
    for image in images.numpy():
        calls.clear()
        normalised = (image / 255 - mean) / std
        with torch.inference_mode():
            backbone.network(torch.from_numpy(normalised).float().permute(2, 0, 1)[None])
    return {layer: torch.cat(found[layer]).numpy() for layer in LAYERS[model]}


def assert_equal(found: Codes, expected: Codes) -> None:
    assert found.keys() == expected.keys()
    for layer, codes in expected.items():
        np.testing.assert_array_equal(found[layer], codes)


def assert_close(found: Codes, expected: Codes) -> None:
    assert found.keys() == expected.keys()
    for layer, codes in expected.items():
        assert found[layer].dtype == np.float32
        scale = float(np.abs(codes).max())
        np.testing.assert_allclose(found[layer], codes, rtol=1e-5, atol=1e-5 * scale)


def limit_memory(monkeypatch: pytest.MonkeyPatch, most: int) -> list[int]:
    """Let no more images than that through at a time; the sizes that were tried."""
    tried: list[int] = []
    plain = BatchRunner._forward

    def forward(self: BatchRunner, images: Tensor) -> Codes:
        tried.append(len(images))
        if len(images) > most:
            raise torch.OutOfMemoryError("CUDA out of memory.\nTried to allocate 2 GiB")
        return plain(self, images)

    monkeypatch.setattr(BatchRunner, "_forward", forward)
    return tried


def left_behind(seconds: float = 5) -> list[str]:
    """Threads of ours that do not end."""
    deadline = time.monotonic() + seconds
    while True:
        names = [thread.name for thread in threading.enumerate()]
        ours = [name for name in names if name.startswith(("network", "decode", "read"))]
        if not ours or time.monotonic() > deadline:
            return ours
        time.sleep(0.01)


def fresh() -> int:
    """The number of arithmetic threads that a thread begins with."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(torch.get_num_threads).result()


@pytest.fixture(params=[pytest.param(1, marks=pytest.mark.slow), 3])
def arithmetic(request: pytest.FixtureRequest) -> Iterator[int]:
    """So many arithmetic threads in this thread and those to come."""
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield int(request.param)
    torch.set_num_threads(before)


@pytest.fixture(params=[1, pytest.param(2, marks=pytest.mark.slow), 5])
def several(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """A machine of so many cores."""
    monkeypatch.setattr("bottleneck.backbones.parallelism.available_cpus", lambda: request.param)
    return int(request.param)
