"""A Slurm of one's own: a controller and one node on the loopback, all of it in one folder."""

import os
import secrets
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

TOOLS = ("munged", "slurmctld", "slurmd", "sbatch", "scontrol", "scancel", "squeue", "srun")

_CONFIG = """\
ClusterName=tests
SlurmctldHost=localhost(127.0.0.1)
SlurmctldPort={controller}
SlurmdPort={node}
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.sock,cred_expire=5
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerParameters=batch_sched_delay=1,sched_interval=1,bf_interval=1
SlurmdParameters=config_overrides
ReturnToService=2
KillWait=10
NodeName=localhost NodeAddr=127.0.0.1 CPUs=4
PartitionName=main Nodes=ALL Default=YES
"""
# cred_expire is also how long a job that is queued again must wait.


def why_not() -> str:
    """Why no Slurm can be started here; empty where it can."""
    path = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin"])
    absent = [tool for tool in TOOLS if shutil.which(tool, path=path) is None]
    if absent:
        return f"Slurm is not installed: no {', '.join(absent)}"
    return "" if os.geteuid() == 0 else "only root may start a Slurm of its own"


@contextmanager
def slurm(folder: Path) -> Iterator[None]:
    """Run a Slurm that this process and its children speak with."""
    before = os.environ.copy()
    os.environ["PATH"] += f"{os.pathsep}/usr/sbin"
    os.environ["SLURM_CONF"] = str(folder / "slurm.conf")
    for name in ("state", "spool"):
        (folder / name).mkdir()
    key = folder / "munge.key"
    key.write_bytes(secrets.token_bytes(128))
    key.chmod(0o400)
    ports = {"controller": _free_port(), "node": _free_port()}
    (folder / "slurm.conf").write_text(_CONFIG.format(folder=folder, **ports))
    munged = [
        *("munged", "--foreground", "--force", f"--socket={folder}/munge.sock"),
        *(f"--key-file={key}", f"--pid-file={folder}/munge.pid"),
        *(f"--seed-file={folder}/munge.seed", f"--log-file={folder}/munge.log"),
    ]
    try:
        with ExitStack() as running:
            running.enter_context(_daemon(munged, folder))
            wait_for((folder / "munge.sock").exists, "munged")
            running.enter_context(_daemon(["slurmctld", "-D"], folder))
            running.enter_context(_daemon(["slurmd", "-D", "-N", "localhost"], folder))
            wait_for(lambda: "idle" in ask("sinfo", "-h", "-o", "%T"), "the node")
            try:
                yield
            finally:
                ask("scancel", "--full", "--signal=KILL", "--user=root")
                ask("scancel", "--user=root")
                wait_for(lambda: not ask("squeue", "-h"), "the last job")
    finally:
        os.environ.clear()
        os.environ.update(before)


@contextmanager
def _daemon(command: list[str], folder: Path) -> Iterator[None]:
    with (
        (folder / f"{command[0]}.out").open("w") as out,
        subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT) as process,
    ):
        try:
            yield
        finally:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def wait_for(condition: Callable[[], bool], what: str, seconds: float = 60) -> None:
    """Wait until something is so."""
    limit = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < limit, f"no end of waiting for {what}"
        time.sleep(0.1)


def ask(*command: str) -> str:
    """What a tool of Slurm says; nothing while it cannot."""
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout


def facts(job: str) -> dict[str, str]:
    """What Slurm says of a job."""
    found = ask("scontrol", "--oneliner", "show", "job", job)
    return dict(word.split("=", 1) for word in found.split() if "=" in word)


def ended(*jobs: str) -> bool:
    """Whether jobs are neither waiting nor running."""
    return not ask("squeue", "-h", "-j", ",".join(jobs))
