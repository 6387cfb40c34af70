from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bottleneck.errors import InvalidOptionError
from bottleneck.runtime.schedulers.array_task import (
    ArrayTask,
    array_expression,
    detect_array_task,
    local_rank,
    pending_by_task,
)


def slurm(
    index: int, first: int, last: int, step: int = 1, count: int | None = None
) -> dict[str, str]:
    regular = (last - first) // step + 1
    values = {"ID": index, "MIN": first, "MAX": last, "STEP": step, "COUNT": count or regular}
    return {f"SLURM_ARRAY_TASK_{name}": str(value) for name, value in values.items()}


def grid_engine(index: int, first: int, last: int, step: int = 1) -> dict[str, str]:
    names = ("SGE_TASK_ID", "SGE_TASK_FIRST", "SGE_TASK_LAST", "SGE_TASK_STEPSIZE")
    return dict(zip(names, map(str, (index, first, last, step)), strict=True))


def srun(rank: int, *, node: int) -> dict[str, str]:
    return {
        "SLURM_LOCALID": str(rank),
        "SLURM_NODEID": str(node),
        "SLURM_STEP_TASKS_PER_NODE": "2(x3),1",
    }


def test_without_a_scheduler_a_process_does_all() -> None:
    assert detect_array_task({}) == ArrayTask(0, 1)
    # As a job that is no array, or a batch script that started no step, says it.
    for alone in (
        {"SGE_TASK_ID": "undefined", "SGE_TASK_FIRST": "undefined"},
        {"LSB_JOBINDEX": "0"},
        {"SLURM_JOB_ID": "5", "SLURM_PROCID": "0", "SLURM_NTASKS": "4"},
    ):
        assert detect_array_task(alone) == ArrayTask(0, 1)


@given(st.integers(0, 50), st.integers(1, 9), st.integers(1, 40), st.sampled_from(["slurm", "sge"]))
def test_the_elements_of_an_array_are_all_parts_once(
    first: int, step: int, count: int, scheduler: str
) -> None:
    make = slurm if scheduler == "slurm" else grid_engine
    indices = range(first, first + step * count, step)
    parts = [detect_array_task(make(index, first, indices[-1], step)) for index in indices]
    assert parts == [ArrayTask(index, count) for index in range(count)]


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"LSB_JOBINDEX": "1", "LSB_JOBINDEX_END": "4"}, (0, 4)),
        ({"LSB_JOBINDEX": "7", "LSB_JOBINDEX_END": "9", "LSB_JOBINDEX_STEP": "2"}, (3, 5)),
        ({"RANK": "3", "WORLD_SIZE": "8", "LOCAL_RANK": "1"}, (3, 8)),
        ({"SLURM_PROCID": "1", "SLURM_STEP_NUM_TASKS": "2", "SLURM_NTASKS": "2"}, (1, 2)),
        ({"OMPI_COMM_WORLD_RANK": "1", "OMPI_COMM_WORLD_SIZE": "3"}, (1, 3)),
    ],
)
def test_other_schedulers_and_ranks(environment: dict[str, str], expected: tuple[int, int]) -> None:
    assert detect_array_task(environment) == ArrayTask(*expected)


@pytest.mark.parametrize(
    "name",
    [
        *("PBS_ARRAY_INDEX", "PBS_ARRAYID", "JOB_COMPLETION_INDEX"),
        *("SLURM_ARRAY_TASK_ID", "SGE_TASK_ID", "LSB_JOBINDEX"),  # without the array's last
    ],
)
def test_an_array_without_a_count_needs_auto_n(name: str) -> None:
    assert detect_array_task({name: "3"}, count=16) == ArrayTask(3, 16)
    with pytest.raises(InvalidOptionError, match=rf"must be auto/N: {name}=3, .*`task='all'`"):
        detect_array_task({name: "3"})
    with pytest.raises(InvalidOptionError, match="is task 16 counted from 0, and there are 16"):
        detect_array_task({name: "16"}, count=16)


def test_ranks_within_the_elements_of_an_array_share_its_parts() -> None:
    parts = Counter(
        detect_array_task(
            {**slurm(index, 1, 3), "SLURM_PROCID": str(rank), "SLURM_STEP_NUM_TASKS": "2"}
        )
        for index in (1, 2, 3)
        for rank in (0, 1)
    )
    assert parts == Counter(ArrayTask(part, 6) for part in range(6))


@pytest.mark.parametrize(
    "environment",
    [
        slurm(7, 3, 7, count=2),  # --array=3,7
        slurm(4, 1, 9, step=2),
        slurm(0, 1, 4),
        {**slurm(1, 1, 4), "SLURM_ARRAY_TASK_ID": "one"},
        {"RANK": "-1", "WORLD_SIZE": "2"},
    ],
)
def test_ambiguous_variables_are_refused(environment: dict[str, str]) -> None:
    with pytest.raises(InvalidOptionError, match="must be I/N"):
        detect_array_task(environment)


def test_uneven_numbers_are_refused_with_the_way_to_make_everything() -> None:
    with pytest.raises(InvalidOptionError, match=r"not evenly numbered.*`task='all'` makes every"):
        detect_array_task(slurm(7, 3, 7, count=2))


@pytest.mark.parametrize(
    ("environment", "count", "named"),
    [
        (slurm(3, 0, 15), None, ["SLURM_ARRAY_TASK_ID=3", "SLURM_ARRAY_TASK_COUNT=16"]),
        (
            {"SLURM_ARRAY_TASK_ID": "3", "SLURM_ARRAY_TASK_MIN": "1", "SLURM_ARRAY_TASK_MAX": "4"},
            None,
            ["SLURM_ARRAY_TASK_ID=3", "SLURM_ARRAY_TASK_MAX=4"],
        ),
        (grid_engine(2, 1, 4), None, ["SGE_TASK_ID=2", "SGE_TASK_LAST=4"]),
        (
            {"LSB_JOBINDEX": "1", "LSB_JOBINDEX_END": "4"},
            None,
            ["LSB_JOBINDEX=1", "LSB_JOBINDEX_END=4"],
        ),
        ({"PBS_ARRAY_INDEX": "3"}, 16, ["PBS_ARRAY_INDEX=3"]),
        ({"RANK": "3", "WORLD_SIZE": "8"}, None, ["RANK=3", "WORLD_SIZE=8"]),
        (
            {**slurm(1, 0, 1), "RANK": "3", "WORLD_SIZE": "8"},
            None,
            ["SLURM_ARRAY_TASK_ID=1", "SLURM_ARRAY_TASK_COUNT=2", "RANK=3", "WORLD_SIZE=8"],
        ),
        # What has a single element or rank splits nothing.
        ({**slurm(7, 7, 7), "RANK": "3", "WORLD_SIZE": "8"}, None, ["RANK=3", "WORLD_SIZE=8"]),
        (slurm(7, 7, 7), None, []),
        ({}, None, []),
    ],
)
def test_the_variables_that_chose_the_part_are_named(
    environment: dict[str, str], count: int | None, named: list[str]
) -> None:
    task = detect_array_task(environment, count=count)
    assert list(task.variables) == named
    assert bool(task.origin) == bool(named)
    for text in (*named, *([f"task {task.index} of {task.count} "] if named else [])):
        assert text in task.origin
    assert "\n" not in task.origin


def test_a_part_that_a_caller_chose_has_no_origin() -> None:
    assert (ArrayTask(3, 16).origin, ArrayTask(0, 1, ("RANK=0",)).origin) == ("", "")
    assert ArrayTask(3, 16, ("RANK=3",)) == ArrayTask(3, 16)
    assert "from RANK=3, A=1 and B=2: " in ArrayTask(3, 16, ("RANK=3", "A=1", "B=2")).origin


def test_a_count_without_a_scheduler_is_refused() -> None:
    with pytest.raises(
        InvalidOptionError, match=r"^`task='auto/4'`: must be I/4, since no scheduler says"
    ):
        detect_array_task({}, count=4)


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, (0, 1)),
        ({"LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "4", "RANK": "5"}, (1, 4)),
        ({"OMPI_COMM_WORLD_LOCAL_RANK": "2", "OMPI_COMM_WORLD_LOCAL_SIZE": "3"}, (2, 3)),
        # srun on nodes of 2, 2, 2 and 1 processes
        (srun(1, node=2), (1, 2)),
        (srun(0, node=3), (0, 1)),
        ({**srun(1, node=2), "SLURM_GPUS_PER_TASK": "2"}, (0, 1)),  # has cards of its own
        ({"SLURM_LOCALID": "0", "SLURM_PROCID": "0"}, (0, 1)),  # a batch script, no step
        ({"SLURM_STEP_TASKS_PER_NODE": "4"}, (0, 1)),
    ],
)
def test_the_processes_of_one_machine(
    environment: dict[str, str], expected: tuple[int, int]
) -> None:
    assert local_rank(environment) == expected


@given(st.sets(st.integers(0, 40)))
def test_an_array_expression_is_its_numbers(indices: set[int]) -> None:
    text = array_expression(indices)
    found: list[int] = []
    for part in text.split(",") if text else []:
        first, _, last = part.partition("-")
        found += range(int(first), int(last or first) + 1)
    assert found == sorted(indices)


def test_numbers_side_by_side_are_one_range() -> None:
    assert array_expression([5, 0, 3, 4]) == "0,3-5"
    assert array_expression(range(1000)) == "0-999"
    assert array_expression([]) == ""


def test_missing_shards_fall_to_the_tasks_that_make_them() -> None:
    assert pending_by_task([0, 2, 4, 4], 3) == {0: 1, 1: 2, 2: 1}
    assert pending_by_task([], 3) == {}


@pytest.mark.parametrize(("index", "count"), [(3, 3), (0, 0), (-1, 2)])
def test_an_index_outside_of_the_count_is_refused(index: int, count: int) -> None:
    with pytest.raises(InvalidOptionError, match=f"`task='{index}/{count}'`: must be I/N"):
        ArrayTask(index, count)


@pytest.mark.parametrize(("index", "count"), [("0", "4"), (0.0, 4), (0, None)])
def test_numbers_of_another_type_are_refused(index: Any, count: Any) -> None:
    with pytest.raises(InvalidOptionError, match=r"`task=.*`: must be I/N of two whole numbers"):
        ArrayTask(index, count)


@given(st.integers(1, 20), st.integers(0, 100))
def test_tasks_have_each_shard_once(count: int, shards: int) -> None:
    parts = [shard for index in range(count) for shard in ArrayTask(index, count).shards(shards)]
    assert sorted(parts) == list(range(shards))


def test_a_rank_behind_the_last_names_its_variables() -> None:
    with pytest.raises(InvalidOptionError, match="RANK=5 and WORLD_SIZE=4"):
        detect_array_task({"RANK": "5", "WORLD_SIZE": "4"})
