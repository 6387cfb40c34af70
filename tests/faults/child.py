"""A command in a process of its own, with one fault put into it."""

import ctypes
import os
import resource
import signal
import stat
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from tests.helpers.forked import become_program, fork


@dataclass(frozen=True)
class Fault:
    """What goes wrong in a child, and when.

    Attributes
    ----------
    kind : str
        ``"none"``; ``"signal"`` or ``"error"`` at a step; ``"file size"``;
        ``"unprivileged"``;
        ``"network"``, ``"memory"`` or ``"decoder"`` at a call.
    at : int
        Which step or call, counted from 0; bytes for a file's size.
    number : int
        Of the signal, or of the error.
    """

    kind: str = "none"
    at: int = 0
    number: int = 0


def start(arguments: Sequence[object], place: Path, fault: Fault | None = None) -> BaseProcess:
    """Begin a command; what it prints and counts comes to lie in `place`."""
    place.mkdir(parents=True, exist_ok=True)
    return fork(_run, [str(part) for part in arguments], place, fault or Fault())


def run(arguments: Sequence[object], place: Path, fault: Fault | None = None) -> int:
    """Run a command to its end: its exit code, negative for a signal."""
    child = start(arguments, place, fault)
    child.join(120)
    assert child.exitcode is not None, "it hangs"
    return child.exitcode


def printed(place: Path) -> str:
    """What the last child of `place` wrote to its standard error."""
    return (place / "stderr").read_text(errors="surrogateescape")


def steps(place: Path) -> int:
    """How many steps the last child of `place` came to its end with."""
    return int((place / "steps").read_text())


def _run(arguments: list[str], place: Path, fault: Fault) -> None:
    become_program(place, place / "stdout", place / "stderr")

    import torch

    from bottleneck.cli import main

    torch.set_num_threads(1)
    _KINDS[fault.kind](fault)
    code = 0
    try:
        main(arguments, prog_name="bottleneck")
    except SystemExit as exit_:
        code = int(exit_.code or 0)
    except KeyboardInterrupt:  # it came when the command was over
        code = 128 + signal.SIGINT
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):
        signal.signal(number, signal.SIG_IGN)  # the rest is not what is tried here
    if fault.kind == "none":
        (place / "steps").write_text(str(_STEPS.taken))
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


# Steps: every call by which the disk may change


class _Steps:
    taken = 0

    def count(self, act: Callable[[int], None]) -> None:
        """Have `act` called with its number before each step."""
        owners = [
            *((os, name) for name in ("write", "fsync", "open", "unlink", "rmdir")),
            *((Path, name) for name in ("replace", "mkdir", "write_bytes")),
        ]
        for owner, name in owners:
            setattr(owner, name, self._stepping(getattr(owner, name), act))

    def _stepping(self, call: Callable[..., Any], act: Callable[[int], None]) -> Callable[..., Any]:
        def step(*args: Any, **kwargs: Any) -> Any:
            to_read = call is _OPEN and not args[1] & os.O_CREAT
            to_a_pipe = call is _WRITE and not stat.S_ISREG(os.fstat(args[0]).st_mode)
            if to_read or to_a_pipe:
                return call(*args, **kwargs)
            now, self.taken = self.taken, self.taken + 1
            act(now)
            return call(*args, **kwargs)

        return step


_OPEN, _WRITE = os.open, os.write
_STEPS = _Steps()


def _nothing(fault: Fault) -> None:
    _STEPS.count(lambda now: None)


def _signal(fault: Fault) -> None:
    def act(now: int) -> None:
        if now == fault.at:
            os.kill(os.getpid(), fault.number)

    _STEPS.count(act)


def _error(fault: Fault) -> None:
    def act(now: int) -> None:
        if now == fault.at:
            raise OSError(fault.number, os.strerror(fault.number))

    _STEPS.count(act)


# Faults of other kinds


def _file_size(fault: Fault) -> None:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (fault.at, resource.RLIM_INFINITY))


def _unprivileged(fault: Fault) -> None:
    """Let the modes of files hold for root as for anybody: capabilities(7), CAP_DAC_*."""
    if os.geteuid() != 0:
        return
    libc = ctypes.CDLL(None, use_errno=True)
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)  # version 3, this thread
    sets = (ctypes.c_uint32 * 6)()  # effective, permitted and inheritable, of 32 bits, twice
    assert libc.capget(header, sets) == 0, os.strerror(ctypes.get_errno())
    for i in range(3):
        sets[i] &= ~0b110
    assert libc.capset(header, sets) == 0, os.strerror(ctypes.get_errno())


def _at_call(owner: Any, name: str, at: int, error: BaseException) -> None:
    call, count = getattr(owner, name), iter(range(1 << 30))

    def called(*args: Any, **kwargs: Any) -> Any:
        if next(count) == at:
            raise error
        return call(*args, **kwargs)

    setattr(owner, name, called)


def _network(fault: Fault) -> None:
    from bottleneck.backbones.inference.runner import BatchRunner

    _at_call(BatchRunner, "_forward", fault.at, RuntimeError("a kernel failed"))


def _memory(fault: Fault) -> None:
    from bottleneck.backbones.inference.runner import BatchRunner

    text = "[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory"
    _at_call(BatchRunner, "_forward", fault.at, RuntimeError(text))


def _decoder(fault: Fault) -> None:
    from bottleneck.data.resizing import views

    _at_call(views, "decode_image", fault.at, SystemExit(3))


_KINDS = {
    "none": _nothing,
    "signal": _signal,
    "error": _error,
    "file size": _file_size,
    "unprivileged": _unprivileged,
    "network": _network,
    "memory": _memory,
    "decoder": _decoder,
}
