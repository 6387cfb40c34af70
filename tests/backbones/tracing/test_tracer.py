"""Tracing replaces the call of every module in the process, and other threads do not notice."""

import threading
from collections.abc import Callable

import torch
from torch import Tensor, fx, nn

from bottleneck.backbones.tracing.tracer import NetworkTracer


class _Acts(nn.Module):
    """A network that does something while it is traced."""

    def __init__(self, act: Callable[[], None]) -> None:
        super().__init__()
        self.act = act

    def forward(self, images: Tensor) -> Tensor:
        if isinstance(images, fx.Proxy):
            self.act()
        return images * 2


def _trace(act: Callable[[], None]) -> fx.GraphModule:
    return NetworkTracer(_Acts(act), lambda _results: {}, 8).trace_program()


def test_modules_that_another_thread_calls_meanwhile_run_as_they_are() -> None:
    module, x = nn.Linear(3, 2), torch.ones(1, 3)
    truth, found = module(x), []

    def call() -> None:
        weight = module.weight
        found.append((type(weight), module(x)))

    def in_another_thread() -> None:
        thread = threading.Thread(target=call)
        thread.start()
        thread.join()

    program = _trace(in_another_thread)
    assert len(found) == 1 and found[0][0] is nn.Parameter
    assert torch.equal(found[0][1], truth)
    assert "call_module" not in {node.op for node in program.graph.nodes}


def test_two_threads_that_trace_at_once_leave_modules_as_they_were() -> None:
    before = nn.Module.__call__, nn.Module.__getattr__
    second_is_inside, first_has_ended = threading.Event(), threading.Event()

    def inside() -> None:
        second_is_inside.set()
        first_has_ended.wait(10)

    second = threading.Thread(target=_trace, args=(inside,))

    def start_the_second() -> None:
        second.start()
        second_is_inside.wait(0.3)  # it has to wait outside

    _trace(start_the_second)
    first_has_ended.set()
    second.join()
    after = nn.Module.__call__, nn.Module.__getattr__
    nn.Module.__call__, nn.Module.__getattr__ = before  # type: ignore[method-assign]
    assert after == before and second_is_inside.is_set()
