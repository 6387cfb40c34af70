import sys
from types import ModuleType

import pytest
import torch
from torch.utils import flop_counter

import bottleneck.backbones.layers.flop_registry as module

NAME = "triton.runtime.jit"


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
