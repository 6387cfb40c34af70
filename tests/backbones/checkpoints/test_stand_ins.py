"""Harmless objects beside the weights: read as stand-ins, while nothing of theirs runs."""

import argparse
import collections
import datetime
import functools
import pathlib
import pickle
import types
import uuid
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from bottleneck.backbones.checkpoints.stand_ins import Inert, stand_ins

HARMLESS: dict[str, Any] = {
    "namespace": argparse.Namespace(lr=0.1, layers=[1, 2], out=pathlib.Path("runs/3")),
    "simple namespace": types.SimpleNamespace(a=1),
    "path": pathlib.PurePosixPath("a/b"),
    "windows path": pathlib.PureWindowsPath("a/b"),
    "when": datetime.datetime(2026, 11, 26, tzinfo=datetime.UTC),
    "took": datetime.timedelta(hours=3),
    "id": uuid.UUID(int=3),
    "scalar": np.float64(91.2),
    "integer": np.int64(3),
    "array": np.arange(6.0).reshape(2, 3),
    "types": [np.float32, int, dict],
    "counts": collections.defaultdict(list, {"a": [1]}),
    "loss": nn.CrossEntropyLoss(label_smoothing=0.1),
    "activation": nn.GELU(),
    "partial": functools.partial(dict, a=1),
    "version": torch.__version__,
    "size": torch.Size([2, 3]),
    "ordered": collections.OrderedDict(a=1),
}


@pytest.mark.parametrize("name", HARMLESS)
@pytest.mark.parametrize("archive", [True, False], ids=["archive", "legacy"])
def test_a_harmless_object_beside_the_weights_is_no_obstacle(
    tmp_path: Path, name: str, archive: bool
) -> None:
    weight = torch.arange(3.0)
    if not archive and isinstance(HARMLESS[name], nn.Module):
        pytest.skip("the old format keeps modules with their source, which PyTorch refuses")
    values = {"state_dict": {"weight": weight}, "extra": HARMLESS[name], "last": {"x": weight}}
    torch.save(values, tmp_path / "w.pth", _use_new_zipfile_serialization=archive)
    with stand_ins():
        loaded = torch.load(tmp_path / "w.pth", weights_only=True)
    assert torch.equal(loaded["state_dict"]["weight"], weight)
    assert torch.equal(loaded["last"]["x"], weight)


def test_a_stand_in_keeps_nothing(tmp_path: Path) -> None:
    torch.save({"args": argparse.Namespace(secret=1)}, tmp_path / "w.pth")
    with stand_ins():
        args = torch.load(tmp_path / "w.pth", weights_only=True)["args"]
    assert type(args) is Inert
    assert not hasattr(args, "secret")


def test_weights_in_a_subclass_of_dict_are_kept(tmp_path: Path) -> None:
    torch.save(
        {"model": collections.defaultdict(torch.Tensor, {"weight": torch.ones(2)})},
        tmp_path / "w.pth",
    )
    with stand_ins():
        loaded = torch.load(tmp_path / "w.pth", weights_only=True)
    assert loaded["model"]["weight"].tolist() == [1, 1]


def test_stand_ins_end_with_their_context(tmp_path: Path) -> None:
    torch.save({"args": argparse.Namespace(lr=1)}, tmp_path / "w.pth")
    before = set(torch.serialization.get_safe_globals())
    with stand_ins():
        pass
    assert set(torch.serialization.get_safe_globals()) == before
    with pytest.raises(pickle.UnpicklingError):
        torch.load(tmp_path / "w.pth", weights_only=True)
