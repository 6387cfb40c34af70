from collections.abc import Iterator

import pytest

from bottleneck.runtime.shutdown import (
    Stopped,
    ask_to_stop,
    forget_request,
    held_back,
    stop_if_asked,
)


@pytest.fixture(autouse=True)
def no_request() -> Iterator[None]:
    forget_request()
    yield
    forget_request()


def test_a_request_that_nobody_holds_back_is_heard_at_once_and_once() -> None:
    stop_if_asked()
    with pytest.raises(Stopped):
        ask_to_stop()
    ask_to_stop()  # while what it ended is still unwinding


def test_a_request_that_is_held_back_waits_for_a_good_place() -> None:
    with held_back():
        ask_to_stop()
        ask_to_stop()
        with pytest.raises(Stopped):
            stop_if_asked()


def test_a_request_that_no_place_came_for_is_heard_before_the_next_work() -> None:
    with held_back():
        ask_to_stop()
    with pytest.raises(Stopped), held_back():
        raise AssertionError("it was begun")


def test_after_the_work_nothing_is_held_back_even_if_it_failed() -> None:
    with pytest.raises(ValueError, match="broken"), held_back(), held_back():
        raise ValueError("broken")
    with pytest.raises(Stopped):
        ask_to_stop()


def test_a_new_command_begins_anew() -> None:
    with held_back():
        ask_to_stop()
    forget_request()
    with held_back():
        stop_if_asked()
