"""The program as a process: its start, before the command line can look after interrupts."""

import subprocess
import sys
from types import ModuleType

import pytest

import bottleneck
from bottleneck.__main__ import main


class Interrupted(ModuleType):
    def __getattr__(self, name: str) -> object:
        raise KeyboardInterrupt


def test_an_interrupt_while_it_is_imported_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "bottleneck.cli", Interrupted("bottleneck.cli"))
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == 130
    assert capsys.readouterr().err == "interrupted: nothing was begun\n"


def test_python_runs_it_as_a_module() -> None:
    command = [sys.executable, "-m", "bottleneck", "--version"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == f"bottleneck, version {bottleneck.__version__}\n"
