import sys
from collections.abc import Callable
from typing import Any, TypeVar

import pytest
import torch

from bottleneck.runtime import deferred_compiler

F = TypeVar("F")


def decorator(**options: Any) -> Callable[[F], F]:
    """`torch.compiler.disable` as it is now."""
    disable: Any = torch.compiler.disable
    made: Callable[[F], F] = disable(**options) if options else disable
    return made


@pytest.fixture
def disabled(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """What is given to the compiler, which was not imported before."""
    given: list[tuple[Any, ...]] = []

    def disable(function: Any, recursive: bool = True, *, reason: str = "") -> Any:
        given.append((function.__name__, recursive, reason))
        return function

    monkeypatch.setattr(torch.compiler, "disable", disable)
    monkeypatch.delitem(sys.modules, "torch._dynamo", raising=False)
    return given


def test_a_function_is_disabled_once_it_is_called(disabled: list[tuple[Any, ...]]) -> None:
    before = torch.compiler.disable
    with deferred_compiler():

        @decorator()
        def twice(x: int) -> int:
            """Double it."""
            return 2 * x

        class Network:
            @decorator(recursive=False, reason="numbers")
            def thrice(self, x: int) -> int:
                return 3 * x

        assert not disabled
    assert torch.compiler.disable is before
    assert (twice.__name__, twice.__doc__) == ("twice", "Double it.")
    assert [twice(1), twice(x=2), Network().thrice(3)] == [2, 4, 9]
    assert disabled == [("twice", True, ""), ("thrice", False, "numbers")]


def test_a_class_stays_one(disabled: list[tuple[Any, ...]]) -> None:
    with deferred_compiler():

        @decorator()
        class Network:
            pass

    assert isinstance(Network(), Network)
    assert disabled == [("Network", True, "")]


def test_nothing_is_deferred_where_the_compiler_is_there_and_all_is_restored(
    disabled: list[tuple[Any, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = torch.compiler.disable
    with pytest.raises(ImportError), deferred_compiler():
        raise ImportError
    monkeypatch.setitem(sys.modules, "torch._dynamo", sys)
    with deferred_compiler():
        assert torch.compiler.disable is before
    assert not disabled


def test_the_compiler_leaves_such_a_function_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch._dynamo as compiler

    with monkeypatch.context() as patch:
        patch.delitem(sys.modules, "torch._dynamo")
        with deferred_compiler():

            @decorator()
            def twice(x: torch.Tensor) -> torch.Tensor:
                return 2 * x

    def more(x: torch.Tensor) -> torch.Tensor:
        return twice(x) + 1

    one = torch.ones(1)
    assert twice(one) == 2
    compiled = torch.compile(more, backend="eager", fullgraph=True)
    with pytest.raises(compiler.exc.Unsupported, match="disable"):
        compiled(one)
