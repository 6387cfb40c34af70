"""Files that are no weights: each is named, with the next step, on one line."""

import io
import tarfile
import zipfile
from pathlib import Path

import pytest
import torch
from safetensors.torch import save
from torch import nn

from bottleneck.backbones.checkpoints.file_kinds import explain_unreadable

LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a2146\nsize 4996008\n"
TENSORS = {"weight": torch.arange(6.0)}


def archive_of(*names: str) -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        for name in names:
            archive.writestr(name, b"x")
    return data.getvalue()


def tar() -> bytes:
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("weights.pth"))
    return data.getvalue()


def saved(**options: bool) -> bytes:
    data = io.BytesIO()
    torch.save(TENSORS, data, **options)
    return data.getvalue()


def scripted() -> bytes:
    data = io.BytesIO()
    torch.jit.save(torch.jit.script(nn.Conv2d(3, 4, 3)), data)
    return data.getvalue()


@pytest.mark.filterwarnings("ignore:`torch.jit")
def test_a_torchscript_program_is_named(tmp_path: Path) -> None:
    (tmp_path / "w.pt").write_bytes(scripted())
    reason = explain_unreadable(tmp_path / "w.pt")
    assert reason.startswith("is a TorchScript program")
    assert "state_dict()" in reason


@pytest.mark.parametrize(
    ("data", "parts"),
    [
        (b"", ["is empty", "download it again"]),
        (LFS, ["Git LFS", "git lfs pull"]),
        (b"/annex/objects/SHA256E-s4996008--d881.pth\n", ["git-annex", "git annex get"]),
        (b"\n<!DOCTYPE html><html><head><title>Sign in</title>", ["web page", "link"]),
        ("<html><body>Quota exceeded: für heute</body>".encode("latin-1"), ["web page"]),
        (b"<?xml version='1.0'?><Error><Code>AccessDenied</Code>", ["XML", "logged in"]),
        (
            b'{"weight_map": {"conv1.weight": "model-00001.safetensors"}}',
            ["index", "several files"],
        ),
        ("epoch 3, Genauigkeit 91 %, größer".encode(), ["is text", "epoch 3"]),
        (b"\x08\x08\x12\x07pytorch\x1a\x052.1.0", ["ONNX", "exported from"]),
        (b"\x89HDF\r\n\x1a\n" + bytes(64), ["HDF5"]),
        (b"\x93NUMPY\x01\x00", ["NumPy"]),
        (b"\x1f\x8b\x08\x00" + bytes(64), ["gzip", "unpack it"]),
        (tar(), ["tar archive", "unpack it"]),
        (archive_of("fold/model.pth", "fold/readme.md"), ["archive", "model.pth"]),
        (archive_of("conv1.npy"), ["archive", "conv1.npy"]),
        (saved()[:-200], ["cut off"]),
    ],
    ids=lambda value: "" if isinstance(value, list) else None,
)
def test_files_that_are_not_weights_are_named_with_the_next_step(
    tmp_path: Path, data: bytes, parts: list[str]
) -> None:
    file = tmp_path / "resnet50.pth"
    file.write_bytes(data)
    reason = explain_unreadable(file)
    for part in parts:
        assert part in reason
    assert "\n" not in reason


def test_a_safetensors_file_whose_header_is_cut_off_is_named(tmp_path: Path) -> None:
    (tmp_path / "w.safetensors").write_bytes(save(TENSORS)[:20])
    assert "cut off" in explain_unreadable(tmp_path / "w.safetensors")


@pytest.mark.parametrize(
    "data",
    [saved(), saved(_use_new_zipfile_serialization=False), save(TENSORS)],
    ids=["archive", "legacy", "safetensors"],
)
@pytest.mark.parametrize("name", ["w.pth", "last.ckpt", "weights", "model_best.pth.tar"])
def test_weights_are_recognised_whatever_their_name(tmp_path: Path, data: bytes, name: str) -> None:
    (tmp_path / name).write_bytes(data)
    assert explain_unreadable(tmp_path / name) == ""
