"""Attacks on an extraction and on a finished cache: each asserts that nothing is lost by it.

`test_faults.py` makes a few of each, `torture.py` hundreds.
"""

import errno
import os
import random
import shutil
import signal
import subprocess

import numpy as np

from bottleneck.cache.format.manifest import is_cache
from bottleneck.cache.store import open_cache
from bottleneck.cache.verify import verify
from tests.faults.child import Fault, printed, start
from tests.faults.trial import Trial, Workshop, a_trial, copy, require_same
from tests.faults.trial import codes as codes_of

ERRORS = (errno.ENOSPC, errno.EIO, errno.EDQUOT)
ENDS = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGUSR1: 138}


def killed_at_step(workshop: Workshop, step: int) -> None:
    """SIGKILL just before the disk changes for the n-th time."""
    with a_trial(workshop) as trial:
        code = trial.run(Fault("signal", step, signal.SIGKILL))
        assert code == -signal.SIGKILL, printed(trial.said)
        trial.require_completion()


def refused_at_step(workshop: Workshop, step: int, number: int) -> None:
    """The disk refuses the n-th change: a full disk, a quota, a failing drive."""
    with a_trial(workshop) as trial:
        code = trial.run(Fault("error", step, number))
        require_one_line(trial, code)
        trial.require_completion()


def stopped_after(workshop: Workshop, seconds: float, sent: signal.Signals) -> bool:
    """A signal at some moment; whether it came before the end."""
    with a_trial(workshop) as trial:
        child = start(workshop.command(trial.cache), trial.said, Fault("signal", -1))
        child.join(seconds)
        running = child.exitcode is None and child.pid is not None
        if running:
            signal_child(child.pid, sent)
        child.join(60)
        code = child.exitcode
        begun = is_cache(trial.cache)  # before that, Python may not even have got to `main`
        if begun and running and sent in ENDS:
            assert code in (0, ENDS[sent]), printed(trial.said)
            if code:
                require_one_line(trial, code)
        trial.require_completion()
        return code not in (0, None)


def signal_child(pid: int | None, sent: signal.Signals) -> None:
    assert pid is not None
    try:
        os.kill(pid, sent)
    except ProcessLookupError:
        return  # it has just ended


def limited(workshop: Workshop, size: int) -> None:
    """No file may grow beyond so many bytes."""
    with a_trial(workshop) as trial:
        require_one_line(trial, trial.run(Fault("file size", size)))
        trial.require_completion()


def filled(workshop: Workshop, size: int) -> bool:
    """A disk of so many KiB, which the run fills; whether one could be had."""
    with a_trial(workshop) as trial:
        place = trial.cache.parent
        options = f"size={size}k,mode=777"
        if subprocess.run(
            ["mount", "-t", "tmpfs", "-o", options, "tmpfs", place],
            check=False,
            capture_output=True,
        ).returncode:
            return False
        try:
            refused = trial.run(None)
            require_one_line(trial, refused)  # it does not even begin
            require_one_line(trial, trial.run(None, "--force"))
            trial.require_truth()
            subprocess.run(["mount", "-o", "remount,size=50m", place], check=True)
            trial.require_completion()
        finally:
            subprocess.run(["umount", place], check=True)
    return True


def read_while_written(workshop: Workshop) -> int:
    """Somebody reads all that is done while an extraction goes on; how many shards were read."""
    expected = codes_of(workshop.reference)
    read = 0
    with a_trial(workshop) as trial:
        child = start(workshop.command(trial.cache), trial.said, Fault("signal", -1))
        while child.exitcode is None:
            if not is_cache(trial.cache):
                continue
            cache = open_cache(trial.cache)
            for layer in cache.layers:
                for shard in cache.finished_shards(layer):
                    rows = cache.rows(shard)
                    found = cache.read_checked(layer, shard)
                    np.testing.assert_array_equal(found, expected[layer][rows.start : rows.stop])
                    read += 1
        trial.require_completion()
    return read


def failed_at_call(workshop: Workshop, kind: str, call: int) -> None:
    """The network, a decoding thread or the memory fails at the n-th call."""
    with a_trial(workshop) as trial:
        code = trial.run(Fault(kind, call))
        if kind != "memory":  # there the batch is halved
            assert code != 0
        assert "Traceback" not in printed(trial.said), printed(trial.said)
        trial.require_completion()


def not_allowed(workshop: Workshop, mode: int) -> None:
    """A user who may not write, or not even look, into the half finished cache."""
    with a_trial(workshop) as trial:
        assert trial.run(None, "--task", "0/2") == 0
        kept = {path: path.stat().st_mode for path in [trial.cache, *trial.cache.rglob("*")]}
        for path in kept:
            path.chmod(mode if path.is_dir() else mode & 0o666)
        require_one_line(trial, trial.run(Fault("unprivileged")))
        for path, before in kept.items():
            path.chmod(before)
        trial.require_completion()


def require_one_line(trial: Trial, code: int) -> None:
    """It ended with an error of one line."""
    text = printed(trial.said)
    assert code > 0, (code, text)
    assert text.splitlines()[-1].lower().startswith("error: "), text
    assert "Traceback" not in text, text


def together(workshop: Workshop, seed: int, *, count: int = 8) -> int:
    """Processes that begin at once on an empty directory, some killed; how many were."""
    moments = random.Random(seed)
    with a_trial(workshop) as trial:
        parts = [("--task", f"{i % 4}/4") if moments.random() < 0.7 else () for i in range(count)]
        children = [
            start(
                workshop.command(trial.cache, *part),
                trial.said.with_suffix(f".{i}"),
                Fault("signal", -1),
            )
            for i, part in enumerate(parts)
        ]
        killed = 0
        for child in moments.sample(children, count // 3):
            child.join(moments.uniform(0, workshop.seconds))
            if child.exitcode is None:
                signal_child(child.pid, signal.SIGKILL)
                killed += 1
        for i, child in enumerate(children):
            child.join(120)
            assert child.exitcode in (0, -signal.SIGKILL), printed(trial.said.with_suffix(f".{i}"))
        trial.require_completion()
        return killed


def flipped(workshop: Workshop, seed: int, *, count: int) -> int:
    """Single bits of a finished cache, each found by name; how many were flipped."""
    choose = random.Random(seed)
    cache = copy(workshop.reference, workshop.place / f"flipped {seed}")
    files = sorted(path for path in cache.rglob("*") if path.is_file())
    for _ in range(count):
        path = choose.choice(files)
        whole = path.read_bytes()
        place = choose.randrange(len(whole))
        content = bytearray(whole)
        content[place] ^= 1 << choose.randrange(8)
        path.write_bytes(content)
        found = {bad.file for bad in verify(cache)}
        named = path.relative_to(cache).as_posix()
        assert found == {named}, (named, place, found)
        path.write_bytes(whole)
    assert verify(cache).ok
    require_same(cache, workshop.reference)
    shutil.rmtree(cache)
    return count
