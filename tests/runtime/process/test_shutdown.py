from collections.abc import Iterator

import pytest

from bottleneck.runtime.process.shutdown import (
    StopRequested,
    clear_stop_request,
    defer_stop,
    raise_if_stop_requested,
    request_stop,
)


@pytest.fixture(autouse=True)
def no_request() -> Iterator[None]:
    clear_stop_request()
    yield
    clear_stop_request()


def test_a_request_that_is_not_deferred_stops_at_once_and_only_once() -> None:
    raise_if_stop_requested()
    with pytest.raises(StopRequested):
        request_stop()
    request_stop()  # while what it ended is still unwinding


def test_a_deferred_request_waits_for_the_next_check() -> None:
    with defer_stop():
        request_stop()
        request_stop()
        with pytest.raises(StopRequested):
            raise_if_stop_requested()


def test_a_request_that_no_place_came_for_is_heard_before_the_next_work() -> None:
    with defer_stop():
        request_stop()
    with pytest.raises(StopRequested), defer_stop():
        raise AssertionError("it was begun")


def test_after_the_block_requests_are_not_deferred_even_if_it_failed() -> None:
    with pytest.raises(ValueError, match="broken"), defer_stop(), defer_stop():
        raise ValueError("broken")
    with pytest.raises(StopRequested):
        request_stop()


def test_a_new_command_begins_anew() -> None:
    with defer_stop():
        request_stop()
    clear_stop_request()
    with defer_stop():
        raise_if_stop_requested()
