"""The choice of devices and of the precision."""

import pytest
import torch

from bottleneck.errors import InvalidOptionError
from bottleneck.runtime.devices import (
    choose_device,
    choose_devices,
    native_precision,
    resolve_precision,
    visible_gpus,
)

CPU = torch.device("cpu")


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


def test_a_device_of_pytorchs_own_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert choose_device(CPU) == CPU
    assert choose_devices(torch.device("cuda")) == choose_devices("cuda")
    assert choose_devices(torch.device("cuda", 1)) == [torch.device("cuda:1")]


def test_every_gpu_is_a_device_where_none_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    both = [torch.device("cuda:0"), torch.device("cuda:1")]
    assert choose_devices("auto") == both
    assert choose_devices("cuda") == both
    assert choose_devices("cuda:1") == both[1:]
    assert choose_devices("cpu") == [CPU]
    assert choose_device("auto") == choose_device("cuda") == both[0]
    assert choose_device("cuda:1") == both[1]
    for choose in (choose_device, choose_devices):
        with pytest.raises(
            InvalidOptionError, match=r"device='cuda:2'`.*: auto, cpu, cuda, cuda:0, cuda:1$"
        ):
            choose("cuda:2")


def test_the_device_is_the_one_that_was_made_the_processs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 1)
    assert choose_device("auto") == choose_device("cuda") == torch.device("cuda:1")


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
    assert native_precision("bfloat16", CPU) == expected
    assert resolve_precision("auto", CPU) == expected
    assert native_precision("float16", CPU) == native_precision("float32", CPU) == "float32"


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
    device = torch.device("cuda:1")
    assert native_precision("bfloat16", device) == expected
    assert resolve_precision("auto", device) == expected
    assert asked == [device, device]
    assert native_precision("float16", device) == "float16"
    assert native_precision("float32", device) == "float32"
