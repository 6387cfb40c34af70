"""Whatever a user's code raises is one line with its place; Ctrl-C stays Ctrl-C."""

from pathlib import Path

import pytest
import torch
from torch import nn

from bottleneck.backbones.backbone import load_backbone
from bottleneck.backbones.user_code import describe_error, is_library
from bottleneck.errors import BackboneError
from tests.helpers.tiny_networks import Plain

FILE = """
import os, sys, torch
class ConfigError(Exception): pass

def own():
    raise ConfigError("depth is missing\\nin config.yaml")
def exits():
    sys.exit("set MODEL_ROOT first")
def exits_silently():
    sys.exit(3)
def unpickles():
    return torch.load(os.environ["CHECKPOINT"])
def interrupted():
    raise KeyboardInterrupt
def in_a_library():
    import json
    return json.loads("{")
"""


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    torch.save(Plain(), tmp_path / "whole.pth")
    monkeypatch.setenv("CHECKPOINT", str(tmp_path / "whole.pth"))
    (tmp_path / "net.py").write_text(FILE)
    return f"{tmp_path}/net.py"


@pytest.mark.parametrize(
    ("factory", "words"),
    [
        ("own", r"net\.py:own\(\) failed: ConfigError: depth is missing in \S+ \(net\.py, line 6"),
        ("exits", r"net\.py:exits\(\) failed: SystemExit: set MODEL_ROOT first \(net\.py, line 8"),
        ("exits_silently", r"net\.py:exits_silently\(\) failed: SystemExit: 3 "),
        ("unpickles", r"net\.py:unpickles\(\) failed: UnpicklingError: .*\(net\.py, line 12"),
        ("in_a_library", r"net\.py:in_a_library\(\) failed: JSONDecodeError: .*\(net\.py, line 17"),
    ],
)  # fmt: skip
def test_every_exception_of_a_factory_is_one_line(file: str, factory: str, words: str) -> None:
    with pytest.raises(BackboneError, match=words) as caught:
        load_backbone(f"{file}:{factory}")
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 600


def test_an_interrupt_is_no_error_of_the_user(file: str) -> None:
    with pytest.raises(KeyboardInterrupt):
        load_backbone(f"{file}:interrupted")


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("def build(:\n", r"cannot be imported: SyntaxError: [^(]*\(net\.py, line 1\)$"),
        ("import sys\nsys.exit('no')\n", r"cannot be imported: SystemExit: no \(net\.py, line 2"),
        ("class Odd(Exception): pass\nraise Odd\n", r"cannot be imported: Odd \(net\.py, line 2"),
    ],
)
def test_every_exception_of_a_file_is_one_line(tmp_path: Path, code: str, words: str) -> None:
    (tmp_path / "net.py").write_text(code)
    with pytest.raises(BackboneError, match=words):
        load_backbone(f"{tmp_path}/net.py:build")


def test_every_exception_of_a_forward_pass_is_one_line() -> None:
    class OddError(Exception):
        pass

    class Failing(Plain):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            raise OddError("no such branch")

    with pytest.raises(BackboneError, match=r"OddError: no such branch \(test_user_code\.py, line"):
        _ = load_backbone(Failing()).layers


def test_installed_packages_are_libraries() -> None:
    assert is_library(Path(torch.__file__))
    assert is_library(Path(nn.__file__))
    assert not is_library(Path(__file__))


def test_a_long_message_is_cut() -> None:
    assert len(describe_error(ValueError("x" * 5000))) < 330
