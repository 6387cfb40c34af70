"""Devices and precisions, many threads and few, memory that runs out, errors on the way."""

import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.modules.module import register_module_forward_pre_hook

from bottleneck.backbones import runner as module
from bottleneck.backbones.backbone import Backbone, load_backbone
from bottleneck.backbones.layers import Layer, list_layers, select_layers
from bottleneck.backbones.runner import BatchRunner
from bottleneck.backbones.tracing import TracedNetwork, trace
from bottleneck.backbones.truncated import TruncatedNetwork
from bottleneck.data.sources.files import FileSource
from bottleneck.errors import BackboneError, DeviceMemoryError, ImageError, InvalidOptionError
from bottleneck.extraction.encoder import Encoder, make_spec
from bottleneck.runtime.devices import best_precision, choose_device, choose_devices, visible_gpus
from bottleneck.spec import Spec
from tests.helpers.networks import NETWORKS, PLAIN, SMALL
from tests.helpers.photographs import write_photographs

CPU = torch.device("cpu")
RESIDUAL, BRANCHING = f"{NETWORKS}:residual", f"{NETWORKS}:branching"
LAYERS = {PLAIN: ("layer1", "layer3"), RESIDUAL: ("bn1", "relu_1"), BRANCHING: ("layer1", "layer3")}

Codes = dict[str, NDArray[np.float32]]


@pytest.fixture(params=[1, 2, 5])
def several(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """A machine of so many cores."""
    monkeypatch.setattr(module, "available_cpus", lambda: request.param)
    return int(request.param)


def parts(
    model: str, *, precision: str = "float32", devices: Sequence[torch.device] = (CPU,)
) -> tuple[Backbone, list[Layer], Spec, Sequence[torch.device]]:
    """What a `BatchRunner` and an `Encoder` are made of."""
    backbone = load_backbone(model, transform=SMALL)
    spec = make_spec(backbone, precision=precision, relu=True, pool="avg")
    return backbone, backbone.select_layers(LAYERS[model]), spec, devices


def make(model: str = PLAIN, **changes: Any) -> BatchRunner:
    return BatchRunner(*parts(model, **changes))


def encoder(model: str = PLAIN, **changes: Any) -> Encoder:
    return Encoder(*parts(model, **changes))


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


# Devices and precisions


def test_devices_that_are_not_there_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    for choose in (choose_device, choose_devices):
        for wrong in ("cuda", "cuda:0", "cuda:99", "tpu", "", "CPU", "mps"):
            with pytest.raises(
                InvalidOptionError, match=r"one of this machine's: auto, cpu$"
            ) as caught:
                choose(wrong)
            assert repr(wrong) in str(caught.value)


@pytest.mark.parametrize("device", ["auto", "cpu"])
def test_the_processor_is_the_device_without_a_gpu(
    device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    assert choose_device(device) == CPU
    assert choose_devices(device) == [CPU]


def test_every_gpu_is_a_device_where_none_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    both = [torch.device("cuda:0"), torch.device("cuda:1")]
    assert choose_devices("auto") == both
    assert choose_devices("cuda") == both
    assert choose_devices("cuda:1") == both[1:]
    assert choose_devices("cpu") == [CPU]
    assert choose_device("auto") == choose_device("cuda") == torch.device("cuda")
    assert choose_device("cuda:1") == both[1]
    for choose in (choose_device, choose_devices):
        with pytest.raises(
            InvalidOptionError, match=r"device='cuda:2'`.*: auto, cpu, cuda, cuda:0, cuda:1$"
        ):
            choose("cuda:2")


@pytest.mark.parametrize(
    ("cards", "ranks", "expected"),
    [(4, 1, [[0, 1, 2, 3]]), (4, 2, [[0, 2], [1, 3]]), (2, 2, [[0], [1]]), (2, 3, [[0], [1], [0]])],
)
def test_processes_side_by_side_divide_the_cards(
    cards: int, ranks: int, expected: list[list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: cards)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", str(ranks))
    for rank, own in enumerate(expected):
        monkeypatch.setenv("LOCAL_RANK", str(rank))
        assert choose_devices("auto") == [torch.device(f"cuda:{card}") for card in own]


@pytest.mark.parametrize(
    ("device", "named", "expected"),
    [
        ("auto", None, ["0", "1"]),
        ("cuda", "5,3", ["5", "3"]),
        ("auto", "GPU-1f,GPU-2e,GPU-of-a-broken-card", ["GPU-1f", "GPU-2e"]),
        ("cpu", None, []),
        ("cuda:1", "5,3", []),
    ],
)
def test_cards_are_named_as_the_scheduler_names_them(
    device: str, named: str | None, expected: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if named:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", named)
    assert visible_gpus(device) == expected


@pytest.mark.parametrize(
    ("avx", "amx", "expected"),
    [
        (False, False, "float32"),
        (True, False, "bfloat16"),
        (False, True, "bfloat16"),
        (True, True, "bfloat16"),
    ],
)
def test_bfloat16_where_the_processor_has_it(
    avx: bool, amx: bool, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: avx)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx)
    assert best_precision(CPU) == expected


@pytest.mark.parametrize(
    ("capability", "expected"),
    [((7, 5), "float32"), ((8, 0), "bfloat16"), ((8, 9), "bfloat16"), ((10, 0), "bfloat16")],
)
def test_bfloat16_where_the_gpu_has_it(
    capability: tuple[int, int], expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[torch.device] = []

    def tell(device: torch.device) -> tuple[int, int]:
        asked.append(device)
        return capability

    monkeypatch.setattr(torch.cuda, "get_device_capability", tell)
    assert best_precision(torch.device("cuda:1")) == expected
    assert asked == [torch.device("cuda:1")]


@pytest.mark.parametrize(("count", "expected"), [(1, 1), (3, 3), (64, 16)])
def test_one_batch_for_each_core_up_to_sixteen(
    count: int, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "available_cpus", lambda: count)
    assert make().parallel_batches == expected
    assert make(BRANCHING).parallel_batches == 1


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


def fresh() -> int:
    """The number of arithmetic threads that a thread begins with."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(torch.get_num_threads).result()


@pytest.fixture(params=[1, 3])
def arithmetic(request: pytest.FixtureRequest) -> Iterator[int]:
    """So many arithmetic threads in this thread and those to come."""
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield int(request.param)
    torch.set_num_threads(before)


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


def test_arithmetic_threads_are_as_before_after_a_stream(
    arithmetic: int, several: int, tmp_path: Path
) -> None:
    paths = write_photographs(tmp_path, 6, label="ants")
    for stop in (None, 1):
        stream = encoder().encode(*asked(paths, 1), workers=2)
        for _ in range(stop or 6):
            next(stream)
        stream.close()
        assert (torch.get_num_threads(), fresh()) == (arithmetic, arithmetic)


@pytest.mark.parametrize(("count", "share"), [(1, 1), (5, 1), (40, 2)])
def test_threads_share_the_cores(count: int, share: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "available_cpus", lambda: count)
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
        return graph and TracedNetwork(graph.program, largest)

    monkeypatch.setattr(module, "trace", known)
    assert make(precision=precision).default_batch_size == batch


def test_a_map_is_as_large_as_the_networks_largest_output() -> None:
    backbone = load_backbone(f"{NETWORKS}:reused", transform=SMALL)
    layers = select_layers(list_layers(backbone.network, 32), ["relu"])
    graph = trace(TruncatedNetwork(backbone.network, layers), 32, dtype=torch.float32, device=CPU)
    assert graph
    assert graph.largest == 6 * 32 * 32


def test_streams_side_by_side_share_what_is_of_the_whole_process(
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


@pytest.mark.parametrize("size", [1, 2, 3, 4, 7, 16, 25])
@pytest.mark.parametrize("most", [1, 2, 3])
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


def test_what_fits_never_grows_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thread that fails late with a large batch must not undo what another has learnt."""
    monkeypatch.setattr(module, "available_cpus", lambda: 2)
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
    for part in ("one image", "cpu", "earlier layer", "`precision=bfloat16`", "`device=cpu`"):
        assert part in message
    assert isinstance(caught.value.__cause__, torch.OutOfMemoryError)
    assert isinstance(caught.value, RuntimeError)  # as torch.OutOfMemoryError is


# The encoder's stream


def left_behind(seconds: float = 5) -> list[str]:
    """Threads of ours that do not end."""
    deadline = time.monotonic() + seconds
    while True:
        names = [thread.name for thread in threading.enumerate()]
        ours = [name for name in names if name.startswith(("network", "decode", "read"))]
        if not ours or time.monotonic() > deadline:
            return ours
        time.sleep(0.01)


def asked(paths: list[Path], size: int) -> tuple[FileSource, list[range]]:
    rows = range(len(paths))
    return FileSource.from_paths(paths), [rows[i : i + size] for i in range(0, len(rows), size)]


def test_an_error_in_a_network_thread_reaches_the_caller(
    several: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = write_photographs(tmp_path, 20, label="ants")
    plain, count = BatchRunner._forward, iter(range(1000))

    def forward(self: BatchRunner, images: Tensor) -> Codes:
        if next(count) == 5:
            raise RuntimeError("the network's own")
        return plain(self, images)

    monkeypatch.setattr(BatchRunner, "_forward", forward)
    with pytest.raises(BackboneError, match="the network failed: RuntimeError: the network's own"):
        list(encoder().encode(*asked(paths, 2), workers=3))
    assert not left_behind()


def test_too_little_memory_reaches_the_caller(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit_memory(monkeypatch, 0)
    with pytest.raises(DeviceMemoryError):
        list(encoder().encode(*asked(write_photographs(tmp_path, 3, label="ants"), 2)))
    assert not left_behind()


def test_an_error_in_a_decoder_that_is_not_the_images_reaches_the_caller(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_data: bytes) -> None:
        raise MemoryError("no memory to decode")

    monkeypatch.setattr("bottleneck.extraction.encoder.decode_image", broken)
    with pytest.raises(MemoryError, match="no memory to decode"):
        list(encoder().encode(*asked(write_photographs(tmp_path, 6, label="ants"), 2)))
    assert not left_behind()


def test_an_error_of_who_names_the_images_reaches_the_caller(several: int, tmp_path: Path) -> None:
    paths = write_photographs(tmp_path, 12, label="ants")

    source, batches = asked(paths, 2)

    def naming() -> Iterator[range]:
        yield from batches
        raise LookupError("no more names")

    with pytest.raises(LookupError, match="no more names"):
        list(encoder().encode(source, naming()))
    assert not left_behind()


@pytest.mark.parametrize("taken", [0, 1, 3])
def test_a_stream_that_is_closed_early_leaves_no_thread(
    several: int, taken: int, tmp_path: Path
) -> None:
    paths = write_photographs(tmp_path, 40, label="ants")
    stream = encoder().encode(*asked(paths, 2), workers=3)
    for _ in range(taken):
        next(stream)
    stream.close()
    assert not left_behind()


def test_a_stream_closed_while_a_thread_waits_for_a_slow_image_ends(
    several: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = write_photographs(tmp_path, 40, label="ants")
    from bottleneck.data.decode import decode_image

    def slow(data: bytes) -> Any:
        time.sleep(0.05)
        return decode_image(data)

    monkeypatch.setattr("bottleneck.extraction.encoder.decode_image", slow)
    stream = encoder().encode(*asked(paths, 4), workers=1)
    next(stream)
    begun = time.monotonic()
    stream.close()
    assert time.monotonic() - begun < 0.5  # what has not begun does not begin
    assert not left_behind()


def test_a_finished_stream_leaves_no_thread_and_keeps_the_order(
    several: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = write_photographs(tmp_path, 31, label="bees")
    plain, delays = BatchRunner._forward, iter([0.05, 0, 0.03, 0.01] * 10)

    def forward(self: BatchRunner, images: Tensor) -> Codes:
        time.sleep(next(delays))
        return plain(self, images)

    one_by_one = joined([batch.codes for batch in encoder().encode(*asked(paths, 1))])
    monkeypatch.setattr(BatchRunner, "_forward", forward)
    found = list(encoder().encode(*asked(paths, 3), workers=4))
    assert np.concatenate([batch.row for batch in found]).tolist() == list(range(31))
    assert_close(joined([batch.codes for batch in found]), one_by_one)
    assert not left_behind()


@pytest.mark.parametrize("bad", [[0, 1, 2, 3, 4], [2], [0], [4], [0, 1, 3, 4]])
def test_images_that_are_not_valid_are_not_run(
    bad: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = write_photographs(tmp_path, 5, label="ants")
    (good,) = encoder().encode(*asked(paths, len(paths)))
    for i in bad:
        paths[i].write_bytes(b"no image")
    tried = limit_memory(monkeypatch, 5)
    (batch,) = encoder().encode(*asked(paths, len(paths)))
    kept = [i for i in range(5) if i not in bad]
    assert tried == ([len(kept)] if kept else [])
    assert np.flatnonzero(batch.valid).tolist() == kept
    assert batch.codes.keys() == good.codes.keys()
    for layer, codes in batch.codes.items():
        assert codes.shape == good.codes[layer].shape
        assert codes.dtype == np.float32
        assert not codes[bad].any()
        np.testing.assert_allclose(codes[kept], good.codes[layer][kept], rtol=1e-5, atol=1e-7)


def test_an_image_that_fails_after_half_of_its_pixels_were_written_gives_zeros(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = write_photographs(tmp_path, 3, label="ants")

    def refuse(*_: Any) -> None:
        raise ImageError("refused")

    monkeypatch.setattr("bottleneck.extraction.encoder.resize_and_crop", refuse)
    (batch,) = encoder().encode(*asked(paths, len(paths)))
    assert not batch.valid.any()
    assert batch.reason == ["refused"] * 3
    assert not any(codes.any() for codes in batch.codes.values())


def test_a_network_that_cannot_be_traced_goes_through_the_stream(
    several: int, tmp_path: Path
) -> None:
    paths = write_photographs(tmp_path, 7, label="ants")
    odd = encoder(BRANCHING)
    assert odd.runner.parallel_batches == 1
    found = joined([batch.codes for batch in odd.encode(*asked(paths, 2), workers=3)])
    plain = joined([batch.codes for batch in encoder(BRANCHING).encode(*asked(paths, 7))])
    assert_close(found, plain)
    assert found["layer3"].any()
