"""The choice of what runs a network on a GPU; in place of CUDA graphs, functions on a CPU."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from bottleneck.backbones.inference import gpu_runtime as module
from bottleneck.backbones.inference import graph_replica
from bottleneck.backbones.inference.gpu_runtime import choose_on_gpu
from bottleneck.backbones.inference.graph_replica import GraphReplica, compile_replicas
from bottleneck.backbones.inference.runner import BatchRunner
from bottleneck.backbones.inference.runtime_trial import RuntimeChoice
from tests.helpers.networks import PLAIN
from tests.helpers.runners import BRANCHING, RESIDUAL, assert_close, make, pixels, run, truth

MANY = 1_000_000
Codes = dict[str, Tensor]


@pytest.fixture
def recorded(monkeypatch: pytest.MonkeyPatch) -> list[torch.device]:
    """Let a function be computed anew where a graph would be replayed; the devices of graphs."""
    devices: list[torch.device] = []

    def record(
        compute: Callable[[], Codes], device: torch.device
    ) -> tuple[Callable[[], None], Codes]:
        devices.append(device)
        codes = {layer: torch.zeros_like(code) for layer, code in compute().items()}

        def replay() -> None:
            for layer, code in compute().items():
                codes[layer].copy_(code)

        return replay, codes

    monkeypatch.setattr(graph_replica, "record", record)
    return devices


@pytest.fixture
def trial(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """A clock of its own, and an eager compiler that may fail."""

    def install(*, each: float = 0.01, gains: tuple[float, ...] = (2.0, 2.0)) -> None:
        left = iter(gains)
        monkeypatch.setattr(module, "seconds_of", lambda _, images: each * len(images))
        monkeypatch.setattr(module, "speed_ratio", lambda *_: next(left))
        plain = torch.compile
        monkeypatch.setattr(torch, "compile", lambda f, **_: plain(f, backend="eager"))

    return install


def choose(runner: BatchRunner, images: int = MANY, batch_size: int = 4) -> RuntimeChoice:
    return choose_on_gpu(runner._by_torch, batch_size=batch_size, images=images)


@pytest.mark.parametrize("model", [PLAIN, RESIDUAL])
@pytest.mark.parametrize("compiled", [False, True])
def test_codes_by_a_graph_are_those_of_the_network_in_any_batch(
    model: str, compiled: bool, recorded: list[torch.device], trial: Callable[..., None]
) -> None:
    trial()
    runner, images = make(model), pixels(23)
    chosen = choose(runner, MANY if compiled else 1000)
    assert chosen.name.startswith("torch.compile " if compiled else "torch")
    assert len(chosen.replicas) == runner.parallel_batches == len(set(map(id, chosen.replicas)))
    runner.runtime = chosen
    expected = truth(model, images)
    for size in (1, 4, 7, 23):  # smaller than a graph's, equal, and larger
        assert_close(run(runner, images, size), expected)


def test_images_of_a_former_batch_do_not_come_back(recorded: list[torch.device]) -> None:
    by_torch = make()._by_torch[0]
    graph, images = GraphReplica(by_torch, 4), pixels(8)
    full = graph(images[:4])
    last = graph(images[6:])
    again = graph(images[:4])
    for layer, codes in by_torch(images[6:]).items():
        np.testing.assert_allclose(last[layer], codes, rtol=1e-5, atol=1e-6)
        np.testing.assert_array_equal(again[layer], full[layer])  # not overwritten by the last


@pytest.mark.parametrize(
    ("images", "gains", "said"),
    [
        (400, (), ""),
        (1000, (1.5,), "runtime: CUDA graph, 1.50 times as fast in a trial of"),
        (1000, (1.0,), "runtime: torch; a CUDA graph is 1.00 times as fast"),
        (MANY, (1.0, 2.0), "runtime: compiled CUDA graph, 2.00 times as fast"),
        (MANY, (1.5, 0.9), "; a compiled CUDA graph is 0.90 times as fast"),
    ],
)
def test_the_fastest_runtime_is_used_and_noted(
    images: int,
    gains: tuple[float, ...],
    said: str,
    recorded: list[torch.device],
    trial: Callable[..., None],
) -> None:
    trial(gains=gains)
    chosen = choose(make(), images)
    compiled = f"torch.compile {torch.__version__}"
    assert chosen.name == (compiled if gains[1:] == (2.0,) else "torch")
    assert said in chosen.note
    assert bool(chosen.note) == bool(said)
    taken = max(gains, default=0) > 1
    assert isinstance(chosen.replicas[0], GraphReplica) == taken


def test_a_graph_with_other_codes_is_not_taken(
    monkeypatch: pytest.MonkeyPatch, trial: Callable[..., None]
) -> None:
    def forget(compute: Callable[[], Codes], _: Any) -> tuple[Callable[[], None], Codes]:
        return lambda: None, compute()  # the codes of what it was recorded with

    monkeypatch.setattr(graph_replica, "record", forget)
    trial()
    runner = make()
    chosen = choose(runner, 1000)
    assert chosen.replicas is runner._by_torch
    assert "the codes of a CUDA graph are not those of the network" in chosen.note


def test_networks_that_cannot_be_recorded_run_by_pytorch(
    monkeypatch: pytest.MonkeyPatch, trial: Callable[..., None]
) -> None:
    def refuse(*_: Any) -> None:
        raise RuntimeError("operation not permitted when stream is capturing")

    monkeypatch.setattr(graph_replica, "record", refuse)
    trial()
    runner = make()
    chosen = choose(runner)
    assert chosen.replicas is runner._by_torch
    assert "no CUDA graph, because of RuntimeError: operation not permitted" in chosen.note
    assert "no compiled CUDA graph" in chosen.note


def test_a_recording_that_fails_gives_the_thread_its_stream_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    current: list[Any] = ["the thread's"]

    @contextmanager
    def use(stream: object) -> Iterator[None]:
        before, current[0] = current[0], stream
        try:
            yield
        finally:
            current[0] = before

    class Recording:
        """As `torch.cuda.graph`, which ends the recording before it leaves the stream."""

        def __init__(self, *_: object, stream: object, capture_error_mode: str) -> None:
            self.stream = stream

        def __enter__(self) -> None:
            current[0] = self.stream

        def __exit__(self, *_: object) -> None:
            raise RuntimeError("operation failed due to a previous error during capture")

    cuda = SimpleNamespace(
        device=nullcontext,
        Stream=lambda: SimpleNamespace(wait_stream=lambda _: None),
        current_stream=lambda: current[0],
        stream=use,
        CUDAGraph=object,
        graph=Recording,
    )
    monkeypatch.setattr(torch, "cuda", cuda)
    with pytest.raises(RuntimeError, match="during capture"):
        graph_replica.record(dict, torch.device("cuda:0"))
    assert current == ["the thread's"]


@pytest.mark.parametrize("what", ["seconds_of", "random_images"])
def test_a_batch_that_does_not_fit_is_left_to_the_run(
    what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(module, what, refuse)
    assert choose(make()).note == ""


def test_a_network_that_is_not_traced_is_not_recorded(trial: Callable[..., None]) -> None:
    trial()
    runner = make(BRANCHING)
    assert choose(runner) == RuntimeChoice(runner._by_torch)


def test_a_program_is_compiled_once_for_all_threads(trial: Callable[..., None]) -> None:
    trial()
    one, other = make()._by_torch[0], make()._by_torch[0]
    first, second, third = compile_replicas([one, other, one])
    assert first is third
    assert first is not second


@pytest.mark.gpu
@pytest.mark.parametrize("precision", [pytest.param("float32", marks=pytest.mark.slow), "bfloat16"])
@pytest.mark.parametrize(
    "images",
    [1000, pytest.param(MANY, marks=pytest.mark.slow)],  # the second ones are compiled
)
def test_a_gpu_replays_the_codes_of_the_network(
    precision: str, images: int, gpu: torch.device, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "seconds_of", lambda _, batch: 0.01 * len(batch))
    monkeypatch.setattr(module, "speed_ratio", lambda *_: 2.0)
    runner = make(RESIDUAL, precision=precision, devices=[gpu])
    runner.choose_runtime("auto", images, batch_size=4)
    assert runner.runtime.note.startswith("runtime: ")
    assert isinstance(runner.runtime.replicas[0], GraphReplica), runner.runtime.note
    assert ("compiled" in runner.runtime.note) == (images == MANY), runner.runtime.note
    random = pixels(23)
    expected = truth(RESIDUAL, random)
    for size in (1, 4, 7, 23):
        for layer, codes in run(runner, random, size).items():
            error = np.linalg.norm(codes - expected[layer]) / np.linalg.norm(expected[layer])
            assert error < (1e-4 if precision == "float32" else 0.03)
