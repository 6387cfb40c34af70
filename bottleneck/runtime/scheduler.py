"""Tasks: which part of a run, and of its machine, is this process's, as its scheduler told it.

Tasks share nothing but the cache's directory. Whatever a task finds done it leaves alone, so that
one which is queued again, or runs twice, does only what is missing.
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from bottleneck.errors import InvalidOptionError


@dataclass(frozen=True)
class _Array:
    """The variables by which a scheduler tells a job which element of an array it is.

    Attributes
    ----------
    name : str
        The scheduler's.
    index : str
        The element's own number.
    first, last, step, count : str
        Of the array's numbers; empty where the scheduler does not tell.
    none : str
        What stands in `index` where there is no array.
    """

    name: str
    index: str
    first: str = ""
    last: str = ""
    step: str = ""
    count: str = ""
    none: str = ""


_ARRAYS = (
    _Array(
        "Slurm",  # sbatch(1), "OUTPUT ENVIRONMENT VARIABLES"
        "SLURM_ARRAY_TASK_ID",
        first="SLURM_ARRAY_TASK_MIN",
        last="SLURM_ARRAY_TASK_MAX",
        step="SLURM_ARRAY_TASK_STEP",
        count="SLURM_ARRAY_TASK_COUNT",
    ),
    _Array(
        "Grid Engine",  # qsub(1), -t
        "SGE_TASK_ID",
        first="SGE_TASK_FIRST",
        last="SGE_TASK_LAST",
        step="SGE_TASK_STEPSIZE",
        none="undefined",
    ),
    _Array("LSF", "LSB_JOBINDEX", last="LSB_JOBINDEX_END", step="LSB_JOBINDEX_STEP", none="0"),
    _Array("PBS", "PBS_ARRAY_INDEX"),
    _Array("Kubernetes", "JOB_COMPLETION_INDEX"),
)

# LokyExecutor of one job, side by side: the rank and how many there are.
_RANKS = (
    ("RANK", "WORLD_SIZE"),  # torchrun
    ("SLURM_PROCID", "SLURM_STEP_NUM_TASKS"),  # srun; a batch script alone has no step
    ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"),
)

# The same among those of one machine.
_LOCAL_RANKS = (
    ("LOCAL_RANK", "LOCAL_WORLD_SIZE"),
    ("OMPI_COMM_WORLD_LOCAL_RANK", "OMPI_COMM_WORLD_LOCAL_SIZE"),
)


def detect_array_task(
    environment: Mapping[str, str], *, count: int | None = None
) -> tuple[int, int]:
    """The part (i, n) of a run that is this process's: part i of n, counted from 0.

    An element of an array is a part, and so is each of the processes that it starts side by side.

    Parameters
    ----------
    environment : mapping of str to str
        As `os.environ`.
    count : int, optional
        How many elements the array has, where the scheduler does not tell (PBS, Kubernetes).

    Returns
    -------
    tuple of 2 int
        (0, 1) where no scheduler says otherwise.

    Raises
    ------
    InvalidOptionError
        The array is not regular, or nobody says how many elements it has.
    """
    index, total = _element(environment, count)
    rank, size = _rank(environment)
    return index * size + rank, total * size


def local_rank(environment: Mapping[str, str]) -> tuple[int, int]:
    """The place (i, n) of this process among the n of its job that share its machine and its cards.

    Parameters
    ----------
    environment : mapping of str to str
        As `os.environ`.

    Returns
    -------
    tuple of 2 int
        (0, 1) where it is alone, or has cards that its scheduler gave to nobody else.

    Raises
    ------
    InvalidOptionError
        What the scheduler says makes no sense.
    """
    if "SLURM_GPUS_PER_TASK" in environment:
        return 0, 1
    for rank, size in _LOCAL_RANKS:
        if environment.get(rank) and environment.get(size):
            return _number(rank, environment[rank]), _number(size, environment[size])
    if "SLURM_LOCALID" in environment and "SLURM_STEP_TASKS_PER_NODE" in environment:
        sizes = _expanded(environment["SLURM_STEP_TASKS_PER_NODE"])
        node = _number("SLURM_NODEID", environment.get("SLURM_NODEID", "0"))
        if node < len(sizes):
            return _number("SLURM_LOCALID", environment["SLURM_LOCALID"]), sizes[node]
    return 0, 1


def pending_by_task(missing: Iterable[int], count: int) -> dict[int, int]:
    """How many missing shards each of `count` parts has, if any: shard i is part i % count's."""
    return dict(sorted(Counter(shard % count for shard in missing).items()))


def array_expression(indices: Iterable[int]) -> str:
    """Numbers as ``sbatch --array`` takes them: ``0,3-5``."""
    runs: list[list[int]] = []
    for index in sorted(set(indices)):
        if runs and runs[-1][1] == index - 1:
            runs[-1][1] = index
        else:
            runs.append([index, index])
    return ",".join(f"{first}-{last}" if first < last else f"{first}" for first, last in runs)


def _element(environment: Mapping[str, str], count: int | None) -> tuple[int, int]:
    for array in _ARRAYS:
        value = environment.get(array.index, array.none)
        if value != array.none:
            return _place_in(array, environment, _number(array.index, value), count)
    if count is not None:
        raise InvalidOptionError(
            "task",
            f"auto/{count}",
            f"I/{count}, since no scheduler says which task this is",
            f"looked for {', '.join(array.index for array in _ARRAYS)}",
        )
    return 0, 1


def _place_in(
    array: _Array, environment: Mapping[str, str], index: int, count: int | None
) -> tuple[int, int]:
    def told(name: str, default: int) -> int:
        value = environment.get(name, "") if name else ""
        return _number(name, value) if value else default

    if not array.last:  # numbered from 0, and no more is told
        total = count
        if total is None:
            raise InvalidOptionError(
                "task",
                "auto",
                "auto/N",
                f"{array.index}={index}, and {array.name} does not say how many tasks there are",
            )
        place = index
    else:
        first, step = told(array.first, 1), max(1, told(array.step, 1))
        place, rest = divmod(index - first, step)
        regular = (told(array.last, index) - first) // step + 1
        total = count or regular
        if rest or told(array.count, regular) != regular:
            raise InvalidOptionError(
                "task",
                "auto",
                "I/N",
                f"{array.index}={index}, and the tasks of this array are not evenly numbered, so "
                "that each one's part cannot be told",
            )
    if not 0 <= place < total:
        raise InvalidOptionError(
            "task",
            "auto",
            "I/N",
            f"{array.index}={index} is task {place} counted from 0, and there are {total}",
        )
    return place, total


def _rank(environment: Mapping[str, str]) -> tuple[int, int]:
    for rank, size in _RANKS:
        if environment.get(rank) and environment.get(size):
            return _number(rank, environment[rank]), _number(size, environment[size])
    return 0, 1


def _expanded(sizes: str) -> list[int]:
    """Slurm's ``2(x3),1`` as one number for each node: 2, 2, 2, 1."""
    parts = re.findall(r"(\d+)(?:\(x(\d+)\))?", sizes)
    return [int(size) for size, times in parts for _ in range(int(times or 1))]


def _number(name: str, value: str) -> int:
    if not value.isdecimal():
        raise InvalidOptionError("task", "auto", "I/N", f"{name}={value} is no whole number")
    return int(value)
