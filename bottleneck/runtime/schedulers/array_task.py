"""Detect the part of a run that a batch scheduler gives to this process.

Tasks share only the cache's directory. A task skips what is done, so that a task that is queued
again or runs twice does only what is missing.
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from numbers import Integral

from bottleneck.errors import InvalidOptionError


@dataclass(frozen=True)
class _Array:
    """Names of the variables by which a scheduler tells a job its element of an array.

    Attributes
    ----------
    name : str
        Name of the scheduler.
    index : str
        Variable of the element's own number.
    first, last, step, count : str
        Variables of the array's numbers; empty if the scheduler does not set them.
    none : str
        Value of `index` outside of an array.
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
    _Array("Torque", "PBS_ARRAYID"),
    _Array("Kubernetes", "JOB_COMPLETION_INDEX"),
)


@dataclass(frozen=True)
class ArrayTask:
    """One part of a run that several tasks share: of every `count` shards, the one at `index`.

    Parameters
    ----------
    index : int
        Number of the part, counted from 0.
    count : int
        Number of parts.
    variables : tuple of str
        The environment's variables that chose the part, as ``NAME=value``; empty if a caller did.
        Two tasks with equal parts are equal.

    Raises
    ------
    InvalidOptionError
        One is no whole number, the count is below 1, or the index is not below the count.

    Examples
    --------
    >>> list(ArrayTask(1, 4).shards(10))
    [1, 5, 9]
    >>> str(ArrayTask(1, 4))
    '1/4'
    """

    index: int = 0
    count: int = 1
    variables: tuple[str, ...] = field(default=(), repr=False, compare=False)

    def __post_init__(self) -> None:
        if not (isinstance(self.index, Integral) and isinstance(self.count, Integral)):
            raise InvalidOptionError("task", str(self), "I/N of two whole numbers")
        if self.count < 1:
            raise InvalidOptionError("task", str(self), "I/N with N at least 1")
        if not 0 <= self.index < self.count:
            raise InvalidOptionError(
                "task", str(self), f"I/N with I one of 0…{self.count - 1}, counted from 0"
            )

    def __str__(self) -> str:
        return f"{self.index}/{self.count}"

    @property
    def origin(self) -> str:
        """Name the variables that chose the part, on one line; empty if none did, or for all.

        Examples
        --------
        >>> ArrayTask(3, 16).origin
        ''
        >>> print(ArrayTask(3, 16, ("SGE_TASK_ID=4", "SGE_TASK_LAST=16")).origin)
        task 3 of 16 (counted from 0), from SGE_TASK_ID=4 and SGE_TASK_LAST=16: other shards are \
left to the other tasks, `task='all'` makes every shard
        """
        if self.count == 1 or not self.variables:
            return ""
        *others, last = self.variables
        named = f"{', '.join(others)} and {last}" if others else last
        return (
            f"task {self.index} of {self.count} (counted from 0), from {named}: other shards are "
            "left to the other tasks, `task='all'` makes every shard"
        )

    def shards(self, shard_count: int) -> range:
        """Return the numbers of this task's shards, of so many in all."""
        return range(self.index, shard_count, self.count)


# Parallel processes of one job: the variables of the rank and of the number of ranks.
_RANKS = (
    ("RANK", "WORLD_SIZE"),  # torchrun
    ("SLURM_PROCID", "SLURM_STEP_NUM_TASKS"),  # srun; a batch script alone has no step
    ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"),
)

# The same among the processes on one machine.
_LOCAL_RANKS = (
    ("LOCAL_RANK", "LOCAL_WORLD_SIZE"),
    ("OMPI_COMM_WORLD_LOCAL_RANK", "OMPI_COMM_WORLD_LOCAL_SIZE"),
)


def detect_array_task(environment: Mapping[str, str], *, count: int | None = None) -> ArrayTask:
    """Return the part of a run that the scheduler gives to this process.

    Each element of an array is a part. If an element starts parallel ranks, each rank is one.

    Parameters
    ----------
    environment : mapping of str to str
        The process's variables, as in `os.environ`.
    count : int, optional
        Number of elements of the array, for schedulers that do not tell (PBS, Kubernetes).

    Returns
    -------
    ArrayTask
        The whole run if no scheduler says otherwise; else with the variables that say so.

    Raises
    ------
    InvalidOptionError
        The array's numbers are irregular, or the number of elements is not known.

    Examples
    --------
    >>> str(detect_array_task({"SLURM_ARRAY_TASK_ID": "3", "SLURM_ARRAY_TASK_MAX": "7",
    ...                        "SLURM_ARRAY_TASK_MIN": "0"}))
    '3/8'
    """
    element, rank = _element(environment, count), _rank(environment)
    return ArrayTask(
        element.index * rank.count + rank.index,
        element.count * rank.count,
        tuple(name for part in (element, rank) if part.count > 1 for name in part.variables),
    )


def local_rank(environment: Mapping[str, str]) -> tuple[int, int]:
    """Return (i, n): this process is number i of the n in its job that share its machine and GPUs.

    Parameters
    ----------
    environment : mapping of str to str
        The process's variables, as in `os.environ`.

    Returns
    -------
    tuple of 2 int
        (0, 1) if it is alone, or has GPUs that its scheduler gave to no other process.

    Raises
    ------
    InvalidOptionError
        The scheduler's variables contradict each other.
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
    """Count missing shards by task, where shard i belongs to task i % `count`."""
    return dict(sorted(Counter(shard % count for shard in missing).items()))


def array_expression(indices: Iterable[int]) -> str:
    """Format task numbers in the way in which batch schedulers take them.

    Examples
    --------
    >>> array_expression([5, 0, 3, 4])
    '0,3-5'
    """
    runs: list[list[int]] = []
    for index in sorted(set(indices)):
        if runs and runs[-1][1] == index - 1:
            runs[-1][1] = index
        else:
            runs.append([index, index])
    return ",".join(f"{first}-{last}" if first < last else f"{first}" for first, last in runs)


def _element(environment: Mapping[str, str], count: int | None) -> ArrayTask:
    for array in _ARRAYS:
        value = environment.get(array.index, array.none)
        if value != array.none:
            index = _number(array.index, value)
            position, total = _element_in(array, environment, index, count)
            known = "" if count else array.count if environment.get(array.count) else array.last
            return ArrayTask(position, total, _settings(environment, array.index, known))
    if count is not None:
        raise InvalidOptionError(
            "task",
            f"auto/{count}",
            f"I/{count}, since no scheduler says which task this is",
            f"looked for {', '.join(array.index for array in _ARRAYS)}",
        )
    return ArrayTask()


def _element_in(
    array: _Array, environment: Mapping[str, str], index: int, count: int | None
) -> tuple[int, int]:
    def number(name: str, default: int) -> int:
        value = environment.get(name, "") if name else ""
        return _number(name, value) if value else default

    if not environment.get(array.last):  # counted from 0; nothing else is known
        total = count
        if total is None:
            raise InvalidOptionError(
                "task",
                "auto",
                "auto/N",
                f"{array.index}={index}, and {array.name} does not say how many tasks there are; "
                "`task='all'` makes every shard",
            )
        position = index
    else:
        first, step = number(array.first, 1), max(1, number(array.step, 1))
        position, rest = divmod(index - first, step)
        regular = (number(array.last, first) - first) // step + 1
        total = count or regular
        if rest or number(array.count, regular) != regular:
            raise InvalidOptionError(
                "task",
                "auto",
                "I/N",
                f"{array.index}={index}, and the tasks of this array are not evenly numbered, so "
                "that each one's part cannot be told; `task='all'` makes every shard",
            )
    if not 0 <= position < total:
        raise InvalidOptionError(
            "task",
            "auto",
            "I/N",
            f"{array.index}={index} is task {position} counted from 0, and there are {total}",
        )
    return position, total


def _rank(environment: Mapping[str, str]) -> ArrayTask:
    for rank, size in _RANKS:
        if environment.get(rank) and environment.get(size):
            index, count = _number(rank, environment[rank]), _number(size, environment[size])
            if index >= count:
                hint = f"{rank}={index} and {size}={count}; `task='all'` makes every shard"
                raise InvalidOptionError("task", "auto", "I/N", hint)
            return ArrayTask(index, count, _settings(environment, rank, size))
    return ArrayTask()


def _settings(environment: Mapping[str, str], *names: str) -> tuple[str, ...]:
    """Return those of some variables that are set, as ``NAME=value``."""
    return tuple(f"{name}={environment[name]}" for name in names if environment.get(name))


def _expanded(sizes: str) -> list[int]:
    """Expand Slurm's ``2(x3),1`` to one number for each node: 2, 2, 2, 1."""
    parts = re.findall(r"(\d+)(?:\(x(\d+)\))?", sizes)
    return [int(size) for size, times in parts for _ in range(int(times or 1))]


def _number(name: str, value: str) -> int:
    if not value.isdecimal():
        raise InvalidOptionError("task", "auto", "I/N", f"{name}={value} is no whole number")
    return int(value)
