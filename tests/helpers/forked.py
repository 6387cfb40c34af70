"""Processes of their own that begin at once: forked from a server that has imported everything.

To import PyTorch, torchvision and scikit-learn takes seconds of a processor, and what a process is
tried for (to be killed, to race with others, to be a worker) takes a fraction of one.
"""

import multiprocessing
import os
import signal
import sys
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path

_SERVER = multiprocessing.get_context("forkserver")
# The server looks for what it is to load where Python itself does, until version 3.13.
_ROOT = str(Path(__file__).parents[2])
os.environ["PYTHONPATH"] = os.pathsep.join([_ROOT, *filter(None, [os.environ.get("PYTHONPATH")])])
_PRELOADED = (
    "tests.helpers.uncollected",
    *("bottleneck.extraction.extract", "bottleneck.cli.commands.extract", "tests.faults.fuzz"),
    *("bottleneck.finetuning.tune", "bottleneck.cli.commands.tune"),
    *("bottleneck.fitting.fit", "tests.helpers.dask_cluster"),
    *("distributed.cli.dask_scheduler", "distributed.cli.dask_worker"),  # if it is installed
)
_SERVER.set_forkserver_preload([*_PRELOADED, "tests.helpers.warmed"])


def fork(call: Callable[..., object], *arguments: object) -> BaseProcess:
    """Begin a function, which may not live to its end, in a process of its own."""
    child = _SERVER.Process(target=call, args=arguments)
    child.start()
    return child


def start_server(*modules: str) -> None:
    """Wait until the server has imported everything, where its start would be measured.

    It imports more modules for its processes if it has not been started yet.
    """
    _SERVER.set_forkserver_preload([*_PRELOADED, *modules, "tests.helpers.warmed"])
    fork(int).join()


def become_program(cwd: Path, stdout: Path, stderr: Path) -> None:
    """Give this process what a shell gives a program: a folder, outputs and signals."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job begins without
    os.chdir(cwd)  # where no bottleneck.toml has options of its own
    for number, path in ((1, stdout), (2, stderr)):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND), number)
    sys.stdout, sys.stderr = open(1, "w", closefd=False), open(2, "w", closefd=False)  # noqa: SIM115
