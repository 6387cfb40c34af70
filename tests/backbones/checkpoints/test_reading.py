"""Reading weights files: their tensors, and nothing that runs."""

import argparse
import os
import pickle
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from bottleneck.backbones.checkpoints.reading import read_checkpoint
from bottleneck.errors import WeightsError
from tests.helpers.tiny_networks import Plain


def names(file: Path) -> list[tuple[str, str]]:
    return [(".".join(entry.keys), entry.name) for entry in read_checkpoint(file).entries]


def test_tensors_are_found_in_nested_dictionaries(tmp_path: Path) -> None:
    one = torch.zeros(1)
    values = {
        "epoch": 3,
        "state_dict": {"a.weight": one, "version": 2},
        "optimizer": {"state": {0: {"exp_avg": one}}, "param_groups": [{"lr": 0.1}]},
        "ema": {"shadow": {"a.weight": one}},
        "buffer": one,
    }
    torch.save(values, tmp_path / "w")
    assert names(tmp_path / "w") == [
        ("state_dict", "a.weight"),
        ("ema.shadow", "a.weight"),
        ("", "buffer"),
    ]


def test_a_dictionary_that_contains_itself_is_read_once(tmp_path: Path) -> None:
    values: dict[str, Any] = {"weight": torch.zeros(1)}
    values |= {"self": values, "again": [values]}
    torch.save(values, tmp_path / "w.pth")
    assert names(tmp_path / "w.pth") == [("", "weight")]


@pytest.mark.parametrize("suffix", ["", ".bin", ".safetensors", ".ckpt", ".tar"])
def test_the_content_tells_the_format_and_not_the_name(tmp_path: Path, suffix: str) -> None:
    state = {"b": torch.ones(2), "a": torch.zeros(3)}
    torch.save(state, tmp_path / f"torch{suffix}")
    save_file(state, tmp_path / f"safe{suffix}")
    read = read_checkpoint(tmp_path / f"torch{suffix}")
    assert ([entry.name for entry in read.entries], read.ordered) == (["b", "a"], True)
    read = read_checkpoint(tmp_path / f"safe{suffix}")
    assert ({entry.name for entry in read.entries}, read.ordered) == ({"a", "b"}, False)


# What is refused


class Bomb:
    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.mark),)


class Mine(nn.Module):
    """A class that only its own code knows."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)


class Settings:
    """As a training script defines for itself."""


@pytest.mark.parametrize("archive", [True, False], ids=["archive", "legacy"])
@pytest.mark.parametrize(
    ("value", "parts"),
    [
        (Mine(), ["a whole network", "Mine", "torch.save(network.state_dict()"]),
        ({"model": Mine(), "epoch": 3}, ["a whole network", "Mine"]),
        (nn.Sequential(nn.Conv2d(3, 4, 3)), ["a whole network", "Sequential"]),
        ({"state_dict": {}, "cfg": Settings()}, ["an object of", "test_reading.Settings"]),
        ({"state_dict": {}, "run": shutil.rmtree}, ["an object of shutil.rmtree"]),
    ],
    ids=["network", "network in a dictionary", "torch network", "settings", "function"],
)
def test_objects_that_would_run_code_are_refused_in_one_line(
    tmp_path: Path, archive: bool, value: Any, parts: list[str]
) -> None:
    torch.save(value, tmp_path / "w.pth", _use_new_zipfile_serialization=archive)
    with pytest.raises(WeightsError) as caught:
        read_checkpoint(tmp_path / "w.pth")
    message = str(caught.value)
    for part in ("w.pth is not a file of plain weights", "could run code", *parts):
        assert part in message
    assert "weights_only" not in message
    assert "\n" not in message


@pytest.mark.parametrize("name", ["w.pth", "w.pt", "w.safetensors", "w"])
def test_a_pickle_is_refused_and_does_not_run(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(pickle.dumps(Bomb(tmp_path / "ran")))
    with pytest.raises(WeightsError, match="not a file of plain weights") as caught:
        read_checkpoint(tmp_path / name)
    assert "weights_only" not in str(caught.value)
    values = {"args": argparse.Namespace(bomb=Bomb(tmp_path / "ran"))}
    torch.save(values, tmp_path / "zip.pth")
    with pytest.raises(WeightsError, match="mkdir"):
        read_checkpoint(tmp_path / "zip.pth")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("content", [b"", b"text", b"PK\x03\x04 cut", b"\x80\x02\x8a\nl\xfc"])
def test_damaged_files_are_refused(tmp_path: Path, content: bytes) -> None:
    for name in ("w.pth", "w.safetensors"):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(WeightsError, match=name):
            read_checkpoint(tmp_path / name)


@pytest.mark.parametrize("archive", [True, False], ids=["archive", "legacy"])
def test_every_truncation_is_refused_as_damage(tmp_path: Path, archive: bool) -> None:
    file = tmp_path / "w.pth"
    torch.save(Plain().state_dict(), file, _use_new_zipfile_serialization=archive)
    whole = file.read_bytes()
    for size in (len(whole) - 1, len(whole) - 100, len(whole) // 2, 64):
        file.write_bytes(whole[:size])
        with pytest.raises(WeightsError, match=r"cut off|damaged|plain weights"):
            read_checkpoint(file)


@pytest.mark.parametrize(
    ("value", "holds"),
    [([1, 2], "a list"), (torch.zeros(3), "a Tensor"), ({0: torch.zeros(3)}, "no names"),
     ({"epoch": 3, "loss": 0.1}, "'epoch', 'loss'"),
     ({"w": np.zeros(2), "b": np.zeros(2)}, "'w' and the others, which are no tensors")],
)  # fmt: skip
def test_a_file_without_a_state_dict_says_what_it_holds(
    tmp_path: Path, value: Any, holds: str
) -> None:
    torch.save(value, tmp_path / "w.pth")
    with pytest.raises(WeightsError, match=f"holds no state dict .*it holds {holds}"):
        read_checkpoint(tmp_path / "w.pth")


def test_a_file_that_may_not_be_read_is_said(tmp_path: Path) -> None:
    file = tmp_path / "w.pth"
    torch.save({"a": torch.zeros(1)}, file)
    file.chmod(0)
    if os.access(file, os.R_OK):
        pytest.skip("this user may read everything")
    with pytest.raises(WeightsError, match="cannot be read: Permission denied"):
        read_checkpoint(file)


def test_tensors_that_nobody_uses_are_not_read(tmp_path: Path) -> None:
    network, large = Plain(), torch.zeros(64 << 20, dtype=torch.uint8)
    state: dict[str, Tensor] = dict(network.state_dict())
    torch.save({"state_dict": state, "optimizer": {"momentum": large}}, tmp_path / "w.ckpt")
    read_checkpoint(tmp_path / "w.ckpt")  # what is imported once, is imported
    del large
    before = psutil.Process().memory_info().rss
    checkpoint = read_checkpoint(tmp_path / "w.ckpt")
    assert len(checkpoint.entries) == len(state) + 1
    assert psutil.Process().memory_info().rss - before < 16 << 20
