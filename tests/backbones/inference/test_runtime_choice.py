"""The choice of a runtime: PyTorch, or OpenVINO where it is installed, right, and pays."""

import importlib.util
import time
from collections.abc import Callable, Sequence
from typing import Any, cast

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from bottleneck.backbones import parallelism
from bottleneck.backbones.inference import openvino_replica
from bottleneck.backbones.inference import runtime_choice as module
from bottleneck.backbones.inference.replica import Replica
from bottleneck.backbones.tracing.traced import TracedNetwork
from bottleneck.errors import InvalidOptionError
from tests.helpers.networks import PLAIN
from tests.helpers.runners import BRANCHING, CPU, RESIDUAL, assert_close, make, pixels, run, truth

installed = pytest.mark.skipif(
    importlib.util.find_spec("openvino") is None, reason="OpenVINO is not installed"
)


class Converted:
    """In place of OpenVINO's network: PyTorch's codes, times a factor."""

    device = CPU

    def __init__(self, by_torch: Callable[[Tensor], dict[str, Any]], factor: float) -> None:
        self.by_torch, self.factor = by_torch, factor

    def __call__(self, images: Tensor) -> dict[str, NDArray[np.float32]]:
        codes = self.by_torch(images)
        return {name: np.float32(self.factor) * code for name, code in codes.items()}


@pytest.fixture
def openvino(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """A stand-in for OpenVINO, which may be wrong by a factor, slow, or fail.

    PyTorch takes `each` seconds an image.
    """

    def install(
        runner: Any,
        *,
        factor: float = 1.0,
        gain: float = 2.0,
        error: str = "",
        each: float = 0.01,
    ) -> None:
        def convert(*_: Any, count: int, **__: Any) -> Sequence[Converted]:
            if error:
                raise RuntimeError(error)
            return [Converted(runner.runtime.replicas[0], factor)] * count

        monkeypatch.setattr(module, "openvino_version", lambda: "1.0")
        monkeypatch.setattr(module, "convert_network", convert)
        monkeypatch.setattr(module, "speed_ratio", lambda *_: gain)
        monkeypatch.setattr(module, "seconds_of", lambda *_: each)

    return install


MANY = 1_000_000  # by the stand-in's clock, hours


def test_pytorch_runs_the_network_until_something_is_chosen() -> None:
    runner = make()
    assert (runner.runtime.name, runner.runtime.note) == ("torch", "")


def test_openvino_is_chosen_where_it_pays(openvino: Callable[..., None]) -> None:
    runner = make()
    openvino(runner)
    runner.choose_runtime("auto", MANY)
    assert runner.runtime.name == "openvino 1.0"
    assert runner.runtime.note.startswith("runtime: openvino, 2.00 times as fast as torch")
    runner.choose_runtime("torch", MANY)
    assert runner.runtime.name == "openvino 1.0"  # codes of one run are made in one way


@pytest.mark.parametrize(
    ("images", "trouble", "why"),
    [
        (MANY, {"factor": 1.001}, "OpenVINO's codes are not those of the network"),
        (MANY, {"factor": np.nan}, "OpenVINO's codes are not those of the network"),
        (MANY, {"error": "no such operation"}, "does not convert the network: RuntimeError: no su"),
        (MANY, {"gain": 0.9}, "OpenVINO is 0.90 times as fast as torch"),
    ],
)
def test_pytorch_stays_and_the_reason_is_said(
    images: int, trouble: dict[str, Any], why: str, openvino: Callable[..., None]
) -> None:
    runner = make()
    openvino(runner, **trouble)
    runner.choose_runtime("auto", images)
    assert runner.runtime.name == "torch"
    assert runner.runtime.note.startswith("runtime: torch")
    assert why in runner.runtime.note


@pytest.mark.parametrize(
    ("each", "images_a_thread", "name"),
    [
        (0.01, 799, "torch"),
        (0.01, 800, "openvino 1.0"),
        (1, 19, "torch"),
        (1, 20, "openvino 1.0"),
        (0.002, 1999, "torch"),
        (0.002, 2000, "openvino 1.0"),
    ],
)
def test_a_network_is_converted_from_800_images_a_thread_if_they_take_4_to_20_seconds(
    each: float, images_a_thread: int, name: str, openvino: Callable[..., None]
) -> None:
    runner = make()
    openvino(runner, each=each)
    images = images_a_thread * len(runner.runtime.replicas)
    runner.choose_runtime("auto", images)
    assert runner.runtime.name == name
    assert (f"{images} images are too few" in runner.runtime.note) == (name == "torch")


@pytest.mark.parametrize(("images", "seen"), [(1600, 4), (6000, 12), (MANY, 30)])
def test_the_trial_takes_a_small_part_of_the_run(
    images: int, seen: int, openvino: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the images of a thread a 240th, of 0.01 seconds each, but not above 0.3 seconds."""
    monkeypatch.setattr(parallelism, "available_cpus", lambda: 2)
    runner, counts = make(), []

    def speed_ratio(one: Replica, other: Replica, images: Tensor) -> float:
        counts.append(len(images))
        return 2.0

    openvino(runner)
    monkeypatch.setattr(module, "speed_ratio", speed_ratio)
    runner.choose_runtime("auto", images)
    assert counts == [seen]


def test_nothing_is_said_where_nothing_is_to_be_gained(openvino: Callable[..., None]) -> None:
    runner = make()
    openvino(runner)
    runner.choose_runtime("auto", 10)
    assert (runner.runtime.name, runner.runtime.note) == ("torch", "")


def test_openvino_is_taken_for_few_images_and_though_slower_if_asked_for(
    openvino: Callable[..., None],
) -> None:
    runner = make()
    openvino(runner, gain=0.9)
    runner.choose_runtime("openvino", 1)
    assert (runner.runtime.name, runner.runtime.note) == ("openvino 1.0", "runtime: openvino")


@pytest.mark.parametrize("trouble", [{"factor": 1.001}, {"error": "no such operation"}])
def test_openvino_asked_for_in_vain_is_an_error(
    trouble: dict[str, Any], openvino: Callable[..., None]
) -> None:
    runner = make()
    openvino(runner, **trouble)
    with pytest.raises(InvalidOptionError, match=r"runtime='openvino'.*because OpenVINO"):
        runner.choose_runtime("openvino", MANY)


def test_openvino_is_refused_for_networks_that_cannot_be_traced(
    openvino: Callable[..., None],
) -> None:
    runner = make(BRANCHING)
    openvino(runner)
    with pytest.raises(InvalidOptionError, match="cannot be traced"):
        runner.choose_runtime("openvino", MANY)
    runner.choose_runtime("auto", MANY)
    assert (runner.runtime.name, runner.runtime.note) == ("torch", "")


@pytest.mark.parametrize(("images", "worth_it"), [(799, False), (800, True)])
def test_a_note_tells_how_to_install_openvino_where_it_may_be_faster(
    images: int,
    worth_it: bool,
    openvino: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(parallelism, "available_cpus", lambda: 1)
    runner = make()
    openvino(runner, each=0.01)
    monkeypatch.setattr(module, "openvino_version", lambda: "")
    runner.choose_runtime("auto", images)
    assert runner.runtime.name == "torch"
    assert ("pip install 'bottleneck-features[openvino]'" in runner.runtime.note) == worth_it
    assert bool(runner.runtime.note) == worth_it


def test_openvino_that_is_missing_cannot_be_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "openvino_version", lambda: "")
    with pytest.raises(InvalidOptionError, match="not installed"):
        make().choose_runtime("openvino", MANY)


@installed
@pytest.mark.parametrize("model", [PLAIN, RESIDUAL])
def test_codes_by_openvino_are_those_of_the_network(model: str) -> None:
    images, runner = pixels(23), make(model)
    runner.choose_runtime("openvino", 23)
    assert runner.runtime.name.startswith("openvino 20")
    expected = truth(model, images)
    for size in (1, 4, 10, 23):
        assert_close(run(runner, images, size), expected)


@installed
def test_codes_by_openvino_in_bfloat16_are_as_close_as_pytorchs() -> None:
    images, runner = pixels(20), make(RESIDUAL, precision="bfloat16")
    runner.choose_runtime("openvino", 20)
    found = run(runner, images, 8)
    for layer, codes in truth(RESIDUAL, images).items():
        error = np.linalg.norm(found[layer] - codes) / np.linalg.norm(codes)
        assert error < 0.03


@installed
def test_its_threads_get_the_codes_of_their_own_images() -> None:
    images, runner = pixels(64), make()
    runner.choose_runtime("openvino", 64)
    alone = run(runner, images, 4, at_once=False)
    for _ in range(3):
        found = run(runner, images, 4)
        assert all(np.array_equal(found[layer], codes) for layer, codes in alone.items())


@installed
@pytest.mark.parametrize(("most_weights", "in_the_caller"), [(2 << 30, True), (0, False)])
def test_a_thread_runs_a_program_of_its_own_unless_the_weights_are_too_large_to_repeat(
    most_weights: int, in_the_caller: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(openvino_replica, "_MOST_WEIGHTS", most_weights)
    monkeypatch.setattr(parallelism, "available_cpus", lambda: 2)
    images, runner = pixels(400), make()
    runner.choose_runtime("openvino", 400)
    assert len(runner.runtime.replicas) == runner.parallel_batches == 2
    replica = runner.runtime.replicas[1]
    replica(images)
    own, all_threads = time.thread_time(), time.process_time()
    replica(images)
    share = (time.thread_time() - own) / (time.process_time() - all_threads)
    assert (share > 0.8) == in_the_caller  # of a small network, half is copying
    assert_close(run(runner, images[:9], 4), truth(PLAIN, images[:9]))


@installed
@pytest.mark.parametrize(("budget", "images_a_pass"), [(1, 1), (1 << 40, 4)])
def test_the_larger_the_maps_the_fewer_images_are_in_a_pass(
    budget: int, images_a_pass: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(openvino_replica, "_LARGEST_MAP", budget)
    images, runner = pixels(7), make()
    runner.choose_runtime("openvino", 7)
    (replica, *_) = runner.runtime.replicas
    assert isinstance(replica, openvino_replica.OpenvinoReplica)
    assert len(replica._pixels) == images_a_pass
    assert_close(run(runner, images, 7), truth(PLAIN, images))


@installed
def test_converting_leaves_the_network_and_reports_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from openvino_telemetry import Telemetry

    sent: list[Any] = []
    monkeypatch.setattr(Telemetry, "send_event", lambda *event, **_: sent.append(event))
    runner = make()
    network = cast(TracedNetwork, runner._by_torch[0].forward).truncated.network
    before = {k: v.clone() for k, v in network.state_dict().items()}
    runner.choose_runtime("openvino", 1)
    assert not sent
    after = network.state_dict()
    assert all(torch.equal(value, before[name]) for name, value in after.items())
