"""The settings of a process that runs the program alone, and imports without garbage collection."""

import atexit
import gc
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest

from bottleneck.runtime import configure_process, import_seconds, importing

startup = sys.modules["bottleneck.runtime.process.startup"]


@pytest.fixture(autouse=True)
def as_before(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A process that is not configured, whatever ran before in it."""
    monkeypatch.setitem(startup._settings, "configured", False)
    for name in (*startup._WAITING, "OMP_NUM_THREADS"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    yield
    atexit.unregister(startup._end_without_a_search)
    gc.unfreeze()


@pytest.fixture
def new_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    (tmp_path / "imported_once.py").write_text("import gc\nCOLLECTS = gc.isenabled()\n")
    monkeypatch.syspath_prepend(tmp_path)
    yield "imported_once"
    sys.modules.pop("imported_once", None)


def test_waiting_threads_sleep_unless_the_environment_says_otherwise(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OMP_WAIT_POLICY", "ACTIVE")
    configure_process()
    assert os.environ["OMP_WAIT_POLICY"] == "ACTIVE"
    assert os.environ["OPENBLAS_THREAD_TIMEOUT"] == "16"


@pytest.mark.parametrize(
    ("limit", "given", "expected"),
    [(None, None, None), (0.5, None, "1"), (0.5, "2", "2"), (1e6, None, "3")],
)
def test_threads_of_arithmetic_are_as_many_as_a_container_may_use(
    limit: float | None, given: str | None, expected: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 3, 5}, raising=False)
    for module in (startup, sys.modules["bottleneck.runtime.process.resources"]):
        monkeypatch.setattr(module, "cpu_limit", lambda: limit)
    if given:
        monkeypatch.setenv("OMP_NUM_THREADS", given)
    configure_process()
    assert os.environ.get("OMP_NUM_THREADS") == expected


def test_nothing_is_collected_while_modules_are_imported(new_module: str) -> None:
    with importing():
        module = __import__(new_module)
    assert not module.COLLECTS
    assert gc.isenabled()
    assert gc.get_freeze_count() == 0  # a host's objects are its own


def test_the_seconds_of_imports_are_added_up() -> None:
    for _ in range(2):
        before = import_seconds()
        with importing():
            time.sleep(0.02)
        assert 0.02 <= import_seconds() - before < 1


def test_a_collector_that_was_off_stays_off(new_module: str) -> None:
    gc.disable()
    try:
        with pytest.raises(ModuleNotFoundError), importing():
            __import__("no_such_module_anywhere")
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_the_programs_own_process_never_looks_through_imported_modules(new_module: str) -> None:
    configure_process()
    with importing():
        pass
    assert gc.get_freeze_count() == 0  # nothing was imported
    with importing():
        __import__(new_module)
    assert gc.get_freeze_count() > 0


@pytest.mark.parametrize("there", [True, False])
def test_the_last_search_for_garbage_is_for_objects_bound_by_nanobind_alone(
    there: bool, new_module: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended: list[Callable[[], None]] = []
    monkeypatch.setattr(atexit, "register", ended.append)
    configure_process()
    with importing():
        __import__(new_module)
    monkeypatch.setitem(sys.modules, "triton", ModuleType("triton"))
    if not there:
        monkeypatch.delitem(sys.modules, "triton")
    (end,) = ended
    made: list[object] = [[]]  # later than all imports
    end()
    assert (gc.get_freeze_count() == 0) is there
    assert any(each is made for each in gc.get_objects()) is there
