import os
import signal
import threading
from pathlib import Path

import pytest

from bottleneck.cli.interrupts import (
    Terminated,
    interrupt_code,
    interrupt_text,
    note_kept,
    note_kept_shards,
    signals_as_interrupts,
)
from bottleneck.errors import CacheError
from bottleneck.runtime.process.shutdown import StopRequested


@pytest.mark.parametrize(
    ("sent", "kind"), [(signal.SIGTERM, Terminated), (signal.SIGUSR1, StopRequested)]
)
def test_a_signal_unwinds_and_its_handler_is_put_back(
    sent: signal.Signals, kind: type[KeyboardInterrupt]
) -> None:
    before = signal.getsignal(sent)
    for _ in range(2):  # what was asked of one command is not asked of the next
        with pytest.raises(kind), signals_as_interrupts():
            os.kill(os.getpid(), sent)
            signal.pause()
    assert signal.getsignal(sent) == before


def test_without_sigusr1_sigterm_is_still_handled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signal, "Signals", [signal.SIGINT, signal.SIGTERM])  # as on Windows
    before = signal.getsignal(signal.SIGUSR1)
    with pytest.raises(Terminated), signals_as_interrupts():
        assert signal.getsignal(signal.SIGUSR1) == before
        os.kill(os.getpid(), signal.SIGTERM)
        signal.pause()


def test_another_thread_leaves_signals_alone() -> None:
    before = signal.getsignal(signal.SIGTERM)
    seen = []

    def run() -> None:
        with signals_as_interrupts():
            seen.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert seen == [before]


def test_codes_are_what_shells_expect() -> None:
    assert interrupt_code(KeyboardInterrupt()) == 130
    assert interrupt_code(Terminated()) == 143
    assert interrupt_code(StopRequested()) == 138


def test_an_interrupt_says_what_is_kept(cache: Path, tmp_path: Path) -> None:
    with pytest.raises(Terminated) as caught, note_kept_shards(cache):
        raise Terminated
    assert interrupt_text(caught.value) == (
        f"terminated: {cache} holds 5 of 5 shards of layer2, 5 of 5 shards of layer3; what was "
        "finished is kept, the same command goes on"
    )
    with pytest.raises(Terminated) as caught, note_kept_shards(tmp_path / "new.cache"):
        raise Terminated
    assert interrupt_text(caught.value) == (
        "terminated: nothing was finished yet; the same command begins again"
    )
    with pytest.raises(StopRequested) as stopped, note_kept():
        raise StopRequested
    assert interrupt_text(stopped.value) == (
        "stopped: what was finished is kept, the same command goes on"
    )


def test_a_command_that_keeps_nothing_does_not_say_that_it_does() -> None:
    assert interrupt_text(KeyboardInterrupt()) == "interrupted: the same command begins again"


@pytest.mark.parametrize(
    "failure",
    [OSError(5, "Input/output error"), CacheError("no cache"), MemoryError(), Terminated()],
)
@pytest.mark.parametrize("interrupt", [KeyboardInterrupt(), Terminated()])
def test_an_error_while_saying_what_is_kept_does_not_replace_the_interrupt(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    failure: BaseException,
    interrupt: KeyboardInterrupt,
) -> None:
    def fail(_cache: Path) -> str:
        raise failure

    monkeypatch.setattr("bottleneck.cache.kept_text", fail)
    with pytest.raises(KeyboardInterrupt) as caught, note_kept_shards(tmp_path):
        raise interrupt
    assert caught.value is interrupt
    assert interrupt_text(interrupt).endswith("what was finished is kept, the same command goes on")
