"""Write batch scripts for Slurm that run this program, and submit them.

A script is complete: it names this Python, and can be kept, read, edited and submitted again.
Options of Slurm are passed through unchanged.
"""

import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from bottleneck.errors import InvalidOptionError, SchedulerError
from bottleneck.runtime.schedulers.array_task import array_expression

# The job runs the Python that submits it. -P keeps files in the working folder from hiding modules.
PROGRAM = (sys.executable, "-P", "-m", "bottleneck")

_SECONDS_BEFORE_THE_END = 120  # in which the shard in the making is to be finished
_MOST_RESTARTS = 10  # where a run ends before its first shard, more would be of no use

_THREADS = 'export OMP_NUM_THREADS="${SLURM_CPUS_PER_TASK:-$SLURM_CPUS_ON_NODE}"'

_ARRAY = """\
# Task I of {count} makes every shard K for which K % {count} is I, and of these what is missing.
# To run some tasks again: sbatch --array=0,3-5 with this file.
{threads}

{program} extract --task "$SLURM_ARRAY_TASK_ID/{count}" {arguments} &
run=$!
# When the time is nearly over, Slurm tells this shell, and this shell the run: that finishes the
# shard in the making and ends with 138, and then the task is queued again for what is left.
trap 'kill -USR1 "$run"' USR1
trap : TERM  # the run has it too, and ends in order
while kill -0 "$run" 2>/dev/null; do wait "$run"; done  # a signal ends `wait`, not the run
wait "$run"
code=$?
if [ "$code" -eq 138 ] && [ "${{SLURM_RESTART_COUNT:-0}}" -lt {most_restarts} ]; then
    scontrol requeue "${{SLURM_ARRAY_JOB_ID}}_$SLURM_ARRAY_TASK_ID"
fi
exit "$code"
"""

_JOB = """\
{threads}

# What the tasks of an array made is asked of the cache, not of their exit codes; 3: incomplete.
{program} status {layers}-- {cache} || exit
exec {program} {command}
"""


def array_option(tasks: Iterable[int]) -> str:
    """Return the option by which ``sbatch`` runs only some tasks of an array.

    Examples
    --------
    >>> array_option([0, 3, 4, 5])
    '--array=0,3-5'
    """
    return f"--array={array_expression(tasks)}"


def extraction_array_script(
    arguments: Sequence[str],
    *,
    tasks: int,
    options: Sequence[str] = (),
    program: Sequence[str] = PROGRAM,
) -> str:
    """Return the batch script of an array job whose tasks each extract a part.

    Parameters
    ----------
    arguments : sequence of str
        Arguments of ``bottleneck extract``, without ``--task``.
    tasks : int
        Number of tasks.
    options : sequence of str
        Options of ``sbatch``. They come after this script's own, and so override them.
    program : sequence of str
        Words that start ``bottleneck``.

    Raises
    ------
    InvalidOptionError
        An option cannot be written in an ``#SBATCH`` line.

    Examples
    --------
    >>> script = extraction_array_script(["photos", "-o", "photos.cache"], tasks=16)
    >>> script.splitlines()[2]
    '#SBATCH --array=0-15'
    """
    own = (
        "--job-name=extract",
        f"--array=0-{tasks - 1}",
        "--requeue",
        "--open-mode=append",
        f"--signal=B:USR1@{_SECONDS_BEFORE_THE_END}",
    )
    return _head(own, options) + _ARRAY.format(
        count=tasks,
        threads=_THREADS,
        program=quote_args(program),
        arguments=quote_args(arguments),
        most_restarts=_MOST_RESTARTS,
    )


def job_script(
    command: Sequence[str],
    *,
    cache: Path,
    layers: Sequence[str] = (),
    options: Sequence[str] = (),
    program: Sequence[str] = PROGRAM,
) -> str:
    """Return the batch script of a job that runs a command on a complete cache.

    The job exits with 3 if the cache is incomplete.

    Parameters
    ----------
    command : sequence of str
        Name and arguments of a command of ``bottleneck``.
    cache : Path
        The cache that the command reads.
    layers : sequence of str
        Layers that must be complete. By default those that the cache has.
    options : sequence of str
        Options of ``sbatch``. They come after this script's own, and so override them.
    program : sequence of str
        Words that start ``bottleneck``.

    Raises
    ------
    InvalidOptionError
        An option cannot be written in an ``#SBATCH`` line.
    """
    return _head((f"--job-name={command[0]}",), options) + _JOB.format(
        threads=_THREADS,
        program=quote_args(program),
        layers="".join(f"{quote_args(['--layer', layer])} " for layer in layers),
        cache=quote_args([str(cache)]),
        command=quote_args(command),
    )


def sbatch(script: str) -> str:
    """Submit a script to Slurm, as a job of the working directory.

    Returns
    -------
    str
        The job's number.

    Raises
    ------
    SchedulerError
        Slurm is not installed, or refuses the job.
    """
    program = shutil.which("sbatch")
    if program is None:
        raise SchedulerError(
            "there is no sbatch here",
            hint="submit on a machine of the cluster, or print the script and take it there",
        )
    done = subprocess.run(
        [program, "--parsable"],
        input=script.encode("utf-8", errors="surrogateescape"),
        capture_output=True,
        check=False,
    )
    if done.returncode:
        said = " ".join(done.stderr.decode(errors="replace").split())
        raise SchedulerError(f"sbatch refused the job: {said}")
    return done.stdout.decode().strip().partition(";")[0]  # a federation's adds the cluster


def quote_args(words: Sequence[str]) -> str:
    r"""Quote words for bash, on one line whatever they contain.

    Parameters
    ----------
    words : sequence of str
        The words of one command.

    Examples
    --------
    >>> quote_args(["my file", "a\nb"])
    "'my file' $'a\\012b'"
    """
    return " ".join(map(_quote, words))


def _quote(word: str) -> str:
    if not re.search(r"[\x00-\x1f\x7f]", word):
        return shlex.quote(word)
    # Slurm refuses a script with a carriage return, and reads #SBATCH at the head of any line.
    escaped = re.sub(r"[\x00-\x1f\x7f'\\]", lambda found: f"\\{ord(found[0]):03o}", word)
    return f"$'{escaped}'"


def _head(own: Sequence[str], options: Sequence[str]) -> str:
    for option in options:
        if not re.fullmatch(r"[^\s\"'\\#]+", option) or not option.isprintable():
            raise InvalidOptionError(
                "options",
                option,
                "able to be written in an #SBATCH line",
                "print the script, and give the option to sbatch with it",
            )
    if options and not options[0].startswith("-"):
        raise InvalidOptionError(
            "options", options[0], "an option of sbatch", "the command comes after `--`"
        )
    lines = [*own, *filter(None, [" ".join(options)])]
    return "\n".join(["#!/bin/bash", *(f"#SBATCH {line}" for line in lines), ""])
