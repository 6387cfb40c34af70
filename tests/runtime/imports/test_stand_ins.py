import sys
from importlib import import_module
from types import ModuleType

import pytest

from bottleneck.runtime import stand_in

NAME = "a_module.that_nobody.has"


@pytest.mark.parametrize("fails", [False, True])
def test_imports_find_it_in_the_block_alone(fails: bool) -> None:
    module = ModuleType(NAME)
    with pytest.MonkeyPatch.context() as patch:
        patch.delitem(sys.modules, NAME, raising=False)
        try:
            with stand_in(module):
                assert import_module(NAME) is module
                if fails:
                    raise ImportError
        except ImportError:
            assert fails
    with pytest.raises(ModuleNotFoundError):
        import_module(NAME)


@pytest.mark.parametrize("before", [True, False])
def test_a_module_that_is_there_stays(before: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    real = ModuleType(NAME)
    if before:
        monkeypatch.setitem(sys.modules, NAME, real)
    with stand_in(ModuleType(NAME)):
        assert (sys.modules[NAME] is real) is before
        monkeypatch.setitem(sys.modules, NAME, real)  # as the first use of a stand-in may do
    assert sys.modules[NAME] is real
