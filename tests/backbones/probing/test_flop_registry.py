import subprocess
import sys
from types import ModuleType

import pytest
import torch
from torch.utils import flop_counter

import bottleneck.backbones.probing.flop_registry as module

NAME = "triton.runtime.jit"

IN_A_NEW_PROCESS = """
import sys
from bottleneck.backbones import load_backbone

assert load_backbone("squeezenet1_0", weights="none").layers[-1].cost == 1.0
assert not [name for name in sys.modules if name.startswith("triton")]
"""


def test_costs_are_counted_without_triton() -> None:
    subprocess.run([sys.executable, "-c", IN_A_NEW_PROCESS], check=True)


def test_the_formulas_are_pytorchs() -> None:
    assert module.flop_registry is flop_counter.flop_registry
    assert torch.ops.aten.addmm in module.flop_registry


def test_a_kernel_is_known_once_triton_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    triton = ModuleType(NAME)
    triton.JITFunction = int  # type: ignore[attr-defined]
    for stand_in in (None, module._DeferredTriton(NAME)):
        if stand_in is None:
            monkeypatch.delitem(sys.modules, NAME, raising=False)
        else:
            monkeypatch.setitem(sys.modules, NAME, stand_in)
        assert not isinstance(1, module._Kernel)
    monkeypatch.setitem(sys.modules, NAME, triton)
    assert isinstance(1, module._Kernel)
    assert not isinstance("1", module._Kernel)


@pytest.mark.parametrize("there", [True, False])
def test_a_triton_that_is_there_stays(there: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    triton = ModuleType(NAME)
    monkeypatch.setitem(sys.modules, NAME, triton)
    if not there:
        monkeypatch.delitem(sys.modules, NAME)
    assert module._import() is module.flop_registry
    assert sys.modules.get(NAME) is (triton if there else None)
