"""A Dask cluster of processes on this machine, whose workers can be killed."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing.process import BaseProcess
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tests.helpers.forked import become_program, fork

_PATIENCE = 60  # seconds for a process to begin, on a machine that has other work
_SETTINGS = {
    "distributed.comm.timeouts.connect": "10s",
    # What Dask measures of itself many times a second, which takes most of an idle process.
    "distributed.worker.profile.enabled": False,
    "distributed.worker.memory.monitor-interval": "1s",
    "distributed.admin.tick.interval": "1s",
    "distributed.admin.system-monitor.interval": "5s",
}


@dataclass
class Cluster:
    """A scheduler and its workers.

    Attributes
    ----------
    address : str
        The scheduler's, ``tcp://127.0.0.1:…``.
    folder : Path
        Its own, with what its processes print.
    scheduler : BaseProcess
    workers : dict of str to BaseProcess
        Those that were started, by their names in `Client.scheduler_info`.
    """

    address: str
    folder: Path
    scheduler: BaseProcess
    workers: dict[str, BaseProcess] = field(default_factory=dict)

    def start_worker(self) -> str:
        """Start one more, of one thread, and give its name."""
        name = f"worker-{len(self.workers)}"
        options = ["--nthreads", "1", "--no-nanny", "--no-dashboard", "--death-timeout", "60"]
        options += ["--local-directory", str(self.folder), "--name", name]
        self.workers[name] = _process(self.folder / name, "worker", self.address, *options)
        return name

    def kill_worker(self, name: str) -> None:
        """End a worker as a machine that loses its power ends it."""
        self.workers[name].kill()
        self.workers[name].join()

    @property
    def alive(self) -> list[str]:
        """The names of the workers that run."""
        return [name for name, process in self.workers.items() if process.is_alive()]

    def log(self) -> str:
        """What all processes have printed."""
        return "\n".join(path.read_text() for path in sorted(self.folder.glob("*.log")))


@contextmanager
def dask_cluster(workers: int = 3) -> Iterator[Cluster]:
    """A scheduler and workers of one thread each on free ports; none is left behind.

    They may still be starting: `Client.wait_for_workers` waits for them.
    """
    with TemporaryDirectory(prefix="dask-") as name:
        folder = Path(name)
        where = folder / "scheduler.json"
        options = ["--host", "127.0.0.1", "--port", "0", "--no-dashboard", "--no-jupyter"]
        scheduler = _process(
            folder / "scheduler", "scheduler", *options, "--scheduler-file", str(where)
        )
        cluster = None
        try:
            cluster = Cluster(_address(where, scheduler, folder), folder, scheduler)
            for _ in range(workers):
                cluster.start_worker()
            yield cluster
        finally:
            for process in [scheduler, *(cluster.workers.values() if cluster else ())]:
                process.kill()
                process.join()


def _process(log: Path, kind: str, *arguments: str) -> BaseProcess:
    return fork(_run, log.with_suffix(".log"), kind, arguments)


def _run(log: Path, kind: str, arguments: tuple[str, ...]) -> None:
    become_program(log.parent, log, log)
    import dask
    from distributed.cli import dask_scheduler, dask_worker
    from threadpoolctl import threadpool_limits

    threadpool_limits(1)
    dask.config.set(_SETTINGS)
    main = {"scheduler": dask_scheduler.main, "worker": dask_worker.main}[kind]
    main(arguments)


def _address(file: Path, scheduler: BaseProcess, folder: Path) -> str:
    end = time.monotonic() + _PATIENCE
    while time.monotonic() < end and scheduler.is_alive():
        if file.exists():
            found: dict[str, Any] = json.loads(file.read_text() or "{}")
            if found:
                return str(found["address"])
        time.sleep(0.05)
    raise RuntimeError(f"no scheduler: {(folder / 'scheduler.log').read_text()}")
