"""Processors and memory that a process may use, of the machine's and of its container's."""

import os
from types import SimpleNamespace

import pytest

import bottleneck.runtime.process.resources as module
from bottleneck.runtime.process.resources import available_cpus, spare_memory


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three processors that the system allows, 10 000 free bytes, and no control groups."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 3, 5}, raising=False)
    monkeypatch.setattr("psutil.virtual_memory", lambda: SimpleNamespace(available=10_000))
    monkeypatch.setattr(module, "cpu_limit", lambda: None)
    monkeypatch.setattr(module, "free_memory", lambda: None)


@pytest.mark.parametrize(
    ("threads", "expected"),
    [(None, 3), ("2", 2), ("2,1", 2), (" 1 ", 1), ("64", 3), ("0", 3), ("", 3), ("many", 3)],
)
def test_processors_are_those_that_the_process_may_use(
    threads: str | None, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    if threads is not None:
        monkeypatch.setenv("OMP_NUM_THREADS", threads)
    assert available_cpus() == expected


@pytest.mark.parametrize(
    ("limit", "threads", "expected"),
    [(None, "", 3), (0.4, "", 1), (1.0, "", 1), (1.2, "", 2), (8.0, "", 3), (2.0, "1", 1)],
)
def test_processors_are_no_more_than_the_containers_limit_rounded_up(
    limit: float | None, threads: str, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", threads)
    monkeypatch.setattr(module, "cpu_limit", lambda: limit)
    assert available_cpus() == expected


@pytest.mark.parametrize(("limit", "expected"), [(None, 5000), (20_000, 5000), (10, 5), (0, 0)])
def test_a_training_takes_half_of_what_is_free_in_the_container(
    limit: int | None, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "free_memory", lambda: limit)
    assert spare_memory() == expected
