"""A batch runner: codes in many threads and few, its threads, and memory that runs out."""

import dataclasses
import itertools
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.modules.module import register_module_forward_pre_hook

from bottleneck.backbones import parallelism
from bottleneck.backbones.backbone import load_backbone
from bottleneck.backbones.inference import forward_choice
from bottleneck.backbones.inference import runner as module
from bottleneck.backbones.inference.replica import FixedBatchReplica
from bottleneck.backbones.inference.runner import BatchRunner
from bottleneck.backbones.inference.runtime_trial import RuntimeChoice
from bottleneck.backbones.layers.listing import list_layers, select_layers
from bottleneck.backbones.layers.truncated import TruncatedNetwork
from bottleneck.backbones.probing.probe import probe
from bottleneck.backbones.tracing.traced import TracedNetwork, trace
from bottleneck.errors import BackboneError, DeviceMemoryError
from tests.helpers import runners
from tests.helpers.networks import NETWORKS, PLAIN, SMALL
from tests.helpers.runners import (
    BRANCHING,
    CPU,
    LAYERS,
    RESIDUAL,
    Codes,
    assert_close,
    assert_equal,
    batches,
    fresh,
    left_behind,
    limit_memory,
    make,
    parts,
    pixels,
    run,
    truth,
)

SLOW = [pytest.mark.slow]
arithmetic, several = runners.arithmetic, runners.several


@pytest.mark.parametrize(("count", "expected"), [(1, 1), (3, 3), (64, 16)])
def test_one_batch_for_each_core_up_to_sixteen(
    count: int, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parallelism, "available_cpus", lambda: count)
    assert make().parallel_batches == expected
    assert make(BRANCHING).parallel_batches == 1


def test_pools_that_are_open_at_a_time_take_turns_at_a_program_with_memory_of_its_own() -> None:
    """As CUDA graphs and OpenVINO's programs are, and networks that cannot be traced."""
    runner, taken = make(BRANCHING), torch.zeros(2, 1, 1, 3, dtype=torch.uint8)
    sums = torch.zeros(2)

    def compute() -> None:
        given = taken.clone()
        time.sleep(0.002)
        sums.copy_(given.sum((1, 2, 3)))
        time.sleep(0.002)

    runner.runtime = RuntimeChoice([FixedBatchReplica(compute, taken, {"sum": sums})])

    def use(value: int) -> list[float]:
        images = torch.full((1, 1, 1, 3), value, dtype=torch.uint8)
        with runner.threads() as pool:
            found = [pool.submit(runner.run, images).result() for _ in range(10)]
        return [float(codes["sum"][0]) for codes in found]

    with ThreadPoolExecutor(3) as users:
        assert list(users.map(use, (1, 2, 3))) == [[3.0] * 10, [6.0] * 10, [9.0] * 10]


# Codes


@pytest.mark.parametrize("model", LAYERS)
def test_codes_are_those_of_the_network(model: str, several: int) -> None:
    images, runner = pixels(23), make(model)
    assert runner.parallel_batches == (1 if model == BRANCHING else several)
    expected = truth(model, images)
    for size in (1, 4, 23):
        assert_close(run(runner, images, size), expected)


@pytest.mark.parametrize("model", LAYERS)
def test_threads_at_once_give_the_bits_of_one_at_a_time(model: str, several: int) -> None:
    images, runner = pixels(40), make(model)
    alone = run(runner, images, 4, at_once=False)
    for _ in range(5):
        assert_equal(run(runner, images, 4), alone)


@pytest.mark.parametrize("model", [PLAIN, RESIDUAL])
def test_codes_do_not_depend_on_the_batch(model: str) -> None:
    images, runner = pixels(24), make(model)
    reference = run(runner, images, 24)
    for size in (2, 3, 5, 7, 16):
        assert_equal(run(runner, images, size), reference)
    assert_close(run(runner, images, 1), reference)


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
@pytest.mark.parametrize("model", LAYERS)
def test_lower_precisions_are_close_and_float32_outside(model: str, precision: str) -> None:
    images = pixels(6)
    expected = truth(model, images)
    found = run(make(model, precision=precision), images, 4)
    for layer, codes in expected.items():
        assert found[layer].dtype == np.float32
        assert not np.array_equal(found[layer], codes)
        error = np.linalg.norm(found[layer] - codes) / np.linalg.norm(codes)
        assert error < 0.03


def test_images_are_left_as_they_were() -> None:
    images, runner = pixels(5), make()
    before = images.clone()
    run(runner, images, 5)
    assert torch.equal(images, before)


@pytest.mark.parametrize("model", [RESIDUAL, BRANCHING])
def test_the_backbones_network_is_left_as_it_was(model: str) -> None:
    """Traced or not, rounded or not: it is the caller's."""
    backbone, layers, spec, devices = parts(model, precision="bfloat16")
    network = backbone.network
    before = {name: value.clone() for name, value in network.state_dict().items()}
    strides = [value.stride() for value in network.parameters()]
    run(BatchRunner(backbone, layers, spec, devices), pixels(4), 2)
    assert [value.stride() for value in network.parameters()] == strides
    for name, value in network.state_dict().items():
        assert value.dtype == before[name].dtype
        torch.testing.assert_close(value, before[name], rtol=0, atol=0)


def test_a_network_that_can_be_neither_traced_nor_copied_is_refused() -> None:
    backbone, layers, spec, devices = parts(BRANCHING)
    backbone.network.lock = threading.Lock()  # type: ignore[assignment]
    with pytest.raises(BackboneError, match=r"neither traced nor copied.*deepcopy"):
        BatchRunner(backbone, layers, spec, devices)


def test_allocated_batches_hold_images_as_they_are_decoded() -> None:
    staging = make().allocate_batch(5, 32)
    assert staging.shape == (5, 32, 32, 3)
    assert staging.dtype == torch.uint8
    assert staging.device == CPU
    assert staging.is_contiguous()
    assert not staging.is_pinned()
    staging.numpy()[2] = 7
    assert int(staging[2].sum()) == 7 * 32 * 32 * 3  # the same memory


# Threads


def test_arithmetic_threads_are_as_before_after_the_block(arithmetic: int, several: int) -> None:
    runner = make()
    assert fresh() == arithmetic
    run(runner, pixels(40), 2)
    assert (torch.get_num_threads(), fresh()) == (arithmetic, arithmetic)


def test_arithmetic_threads_are_as_before_after_an_error(arithmetic: int, several: int) -> None:
    runner = make()
    with pytest.raises(ZeroDivisionError), runner.threads() as pool:
        list(pool.map(runner.run, batches(pixels(20), 2)))
        raise ZeroDivisionError
    assert (torch.get_num_threads(), fresh()) == (arithmetic, arithmetic)
    assert not left_behind()


@pytest.mark.parametrize(("count", "share"), [(1, 1), (5, 1), (40, 2)])
def test_threads_share_the_cores(count: int, share: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parallelism, "available_cpus", lambda: count)
    runner = make()
    with runner.threads() as pool:
        assert pool.submit(torch.get_num_threads).result() == share


@pytest.mark.parametrize("before", [True, False])
def test_convolutions_in_float32_have_all_of_its_bits(
    before: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", before)
    with make().threads() as pool:
        assert not pool.submit(lambda: torch.backends.cudnn.allow_tf32).result()
    assert torch.backends.cudnn.allow_tf32 is before


@pytest.mark.parametrize(
    ("largest", "precision", "batch"),
    [
        (96 * 109 * 109, "float32", 4),  # SqueezeNet 1.0
        (64 * 112 * 112, "float32", 8),  # ResNet-50
        (1, "float32", 64),
        (10**9, "float32", 1),
    ],
)
def test_a_batchs_largest_map_is_at_most_32_mib(
    largest: int, precision: str, batch: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def known(*args: Any, **options: Any) -> TracedNetwork | None:
        graph = trace(*args, **options)
        return graph and dataclasses.replace(graph, largest=largest)

    monkeypatch.setattr(forward_choice, "trace", known)
    assert make(precision=precision).default_batch_size == batch


def test_a_map_is_as_large_as_the_networks_largest_output() -> None:
    backbone = load_backbone(f"{NETWORKS}:reused", transform=SMALL)
    layers = select_layers(list_layers(backbone.network, 32), ["relu"])
    truncated = TruncatedNetwork(backbone.network, layers)
    graph = trace(truncated, probe(truncated, 32), dtype=torch.float32, device=CPU)
    assert graph
    assert graph.largest == 6 * 32 * 32


def test_concurrent_runners_share_the_settings_of_the_process(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The first to end does not take it from the other."""
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
    runner, images = make(), pixels(6)
    expected = run(runner, images, 6)
    with ExitStack() as first, runner.threads() as second:
        pool = first.enter_context(runner.threads())
        assert_equal(pool.submit(runner.run, images).result(), expected)
        first.close()
        assert not torch.backends.cudnn.allow_tf32
        assert_equal(second.submit(runner.run, images).result(), expected)
    assert torch.backends.cudnn.allow_tf32


def test_an_untraced_network_has_one_batch_at_a_time_whatever_the_streams() -> None:
    runner, inside, most = make(BRANCHING), 0, []

    def count(module: object, arguments: object) -> None:
        nonlocal inside
        inside += 1
        most.append(inside)
        time.sleep(0.01)
        inside -= 1

    with register_module_forward_pre_hook(count), runner.threads() as one, runner.threads() as two:
        for future in [pool.submit(runner.run, pixels(3)) for pool in (one, two) * 5]:
            future.result()
    assert max(most) == 1


def test_a_block_can_be_entered_again(several: int) -> None:
    runner, images = make(), pixels(12)
    first = run(runner, images, 3)
    assert_equal(run(runner, images, 3), first)


def test_as_many_batches_at_a_time_as_the_runner_says(
    several: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    runner = make()
    all_in = threading.Barrier(runner.parallel_batches, timeout=30)
    plain = BatchRunner._forward

    def together(self: BatchRunner, images: Tensor) -> Codes:
        all_in.wait()
        return plain(self, images)

    monkeypatch.setattr(BatchRunner, "_forward", together)
    images = pixels(4 * runner.parallel_batches)
    found = run(runner, images, 2)
    monkeypatch.undo()
    assert_close(found, truth(PLAIN, images))


# Memory that runs out


@pytest.mark.parametrize(
    ("size", "most"),
    [
        pytest.param(
            *each,
            marks=[] if each in ((1, 1), (2, 1), (25, 1), (7, 2), (3, 3), (16, 3)) else SLOW,
        )
        for each in itertools.product((1, 2, 3, 4, 7, 16, 25), (1, 2, 3))
    ],
)
def test_a_batch_that_does_not_fit_is_halved(
    size: int, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = pixels(25)
    expected = run(make(), images, size)
    tried = limit_memory(monkeypatch, most)
    runner = make()
    assert runner.max_batch_size is None
    assert_close(run(runner, images, size, at_once=False), expected)
    if size <= most:
        assert runner.max_batch_size is None
    else:
        assert runner.max_batch_size == min(count for count in tried if count > most) // 2
        assert runner.max_batch_size in range(1, most + 1)
        too_large = [i for i, count in enumerate(tried) if count > most]
        assert len(too_large) <= 5  # 25, 12, 6, 3, 1: learnt once
        assert too_large == list(range(len(too_large)))


def test_threads_learn_the_largest_batch_from_each_other(
    several: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = pixels(100)
    expected = run(make(), images, 10)
    limit_memory(monkeypatch, 3)
    runner = make()
    assert_close(run(runner, images, 10), expected)
    assert runner.max_batch_size == 2  # 10, 5, 2


def test_the_largest_batch_never_grows_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thread that fails late with a large batch must not undo what another has learnt."""
    monkeypatch.setattr(parallelism, "available_cpus", lambda: 2)
    runner = make()
    plain, large_is_in, small_is_known = BatchRunner._forward, threading.Event(), threading.Event()
    tried: list[int] = []

    def forward(self: BatchRunner, images: Tensor) -> Codes:
        tried.append(len(images))
        if len(images) == 16:
            large_is_in.set()
            assert small_is_known.wait(30)
            raise torch.OutOfMemoryError
        if len(images) > 3:
            assert large_is_in.wait(30)
            raise torch.OutOfMemoryError
        small_is_known.set()
        return plain(self, images)

    monkeypatch.setattr(BatchRunner, "_forward", forward)
    with runner.threads() as pool:
        large, small = pool.submit(runner.run, pixels(16)), pool.submit(runner.run, pixels(4))
        large.result(), small.result()
    assert runner.max_batch_size == 2
    assert sorted(set(tried)) == [2, 4, 16]


def test_one_image_that_does_not_fit_is_an_error_that_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    limit_memory(monkeypatch, 0)
    runner = make()
    with pytest.raises(DeviceMemoryError) as caught:
        run(runner, pixels(4), 4)
    message = str(caught.value)
    assert "\n" not in message
    for part in ("one image", "cpu", "earlier layer", "`crop`"):
        assert part in message
    assert "`device=cpu`" not in message  # it is the device that is too small
    assert isinstance(caught.value.__cause__, torch.OutOfMemoryError)
    assert isinstance(caught.value, RuntimeError)  # as torch.OutOfMemoryError is


def test_a_network_that_does_not_fit_is_an_error_that_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(module, "choose_forwards", refuse)
    with pytest.raises(DeviceMemoryError, match=r"the network does not fit .* cpu .*earlier"):
        make()
    gpus = [torch.device("cuda", i) for i in (0, 1)]  # which of them is too small, CUDA says
    with pytest.raises(DeviceMemoryError, match=r" cuda:0 or cuda:1 .*`device=cpu`"):
        make(devices=gpus)


def test_another_number_of_codes_than_images_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(BatchRunner, "_forward", lambda self, images: {"fc": np.zeros((2, 4))})
    with pytest.raises(BackboneError, match="layer 'fc' gives 2 codes for 4 images"):
        run(make(), pixels(4), 4)
