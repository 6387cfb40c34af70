"""A context that several threads share."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from threading import Barrier

import pytest

from bottleneck.runtime.process.shared_context import SharedContext

THREADS = 8


def recorded(events: list[str]) -> SharedContext:
    @contextmanager
    def context() -> Iterator[None]:
        events.append("open")
        yield
        events.append("close")

    return SharedContext(context)


def test_the_first_thread_opens_it_and_the_last_one_closes_it() -> None:
    events: list[str] = []
    shared, all_inside = recorded(events), Barrier(THREADS, timeout=30)

    def enter(_: int) -> None:
        with shared:
            all_inside.wait()
            assert events == ["open"]
            all_inside.wait()

    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(enter, range(THREADS)))
    assert events == ["open", "close"]


def test_a_shared_context_can_be_opened_again() -> None:
    events: list[str] = []
    shared = recorded(events)
    for _ in range(2):
        with shared, shared:
            pass
    assert events == ["open", "close"] * 2


def test_an_error_closes_it() -> None:
    events: list[str] = []
    with pytest.raises(KeyError), recorded(events):
        raise KeyError
    assert events == ["open", "close"]


def test_one_that_could_not_be_opened_is_opened_by_the_next_user() -> None:
    events: list[str] = []

    @contextmanager
    def refuses_once() -> Iterator[None]:
        events.append("open")
        if len(events) == 1:
            raise OSError
        yield
        events.append("close")

    shared = SharedContext(refuses_once)
    with pytest.raises(OSError), shared:
        pass
    with shared:
        pass
    assert events == ["open", "open", "close"]
