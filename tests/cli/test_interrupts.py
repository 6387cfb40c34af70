import os
import signal
import threading
from pathlib import Path

import pytest

from bottleneck.cli.interrupts import (
    Terminated,
    interrupt_code,
    interrupt_text,
    sigterm_as_interrupt,
    telling_what_is_kept,
)


def test_sigterm_unwinds_and_its_handler_is_put_back() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(Terminated), sigterm_as_interrupt():
        os.kill(os.getpid(), signal.SIGTERM)
        signal.pause()
    assert signal.getsignal(signal.SIGTERM) == before


def test_another_thread_leaves_signals_alone() -> None:
    before = signal.getsignal(signal.SIGTERM)
    seen = []

    def run() -> None:
        with sigterm_as_interrupt():
            seen.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert seen == [before]


def test_codes_are_what_shells_expect() -> None:
    assert interrupt_code(KeyboardInterrupt()) == 130
    assert interrupt_code(Terminated()) == 143


def test_an_interrupt_says_what_is_kept(tmp_path: Path) -> None:
    with pytest.raises(Terminated) as caught, telling_what_is_kept(tmp_path / "new.cache"):
        raise Terminated
    assert interrupt_text(caught.value) == (
        f"terminated: {tmp_path / 'new.cache'} was not begun; what was finished is kept, the same "
        "command goes on"
    )
    assert interrupt_text(KeyboardInterrupt()) == (
        "interrupted: what was finished is kept, the same command goes on"
    )
