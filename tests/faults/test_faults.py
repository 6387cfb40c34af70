"""A few of most attacks; `make torture` makes hundreds of all."""

import errno
import os
import random
import signal
from collections.abc import Iterator

import pytest
from tqdm import tqdm

from tests.faults import attacks, fuzz_sources, tuning
from tests.faults.trial import Workshop, open_workshop, update_workshop, views_workshop
from tests.helpers.forked import fork

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="children are forked")


@pytest.fixture(scope="module")
def workshop() -> Iterator[Workshop]:
    with open_workshop(5) as found:
        yield found


def some_steps(workshop: Workshop, count: int, seed: int) -> list[int]:
    return sorted(random.Random(seed).sample(range(workshop.steps), count))


def test_a_kill_at_any_step_loses_nothing(workshop: Workshop) -> None:
    for step in some_steps(workshop, 3, seed=1):
        attacks.killed_at_step(workshop, step)


@pytest.mark.parametrize(
    "number",
    [errno.ENOSPC, *(pytest.param(each, marks=pytest.mark.slow) for each in attacks.ERRORS[1:])],
    ids=errno.errorcode.get,
)
def test_a_disk_that_refuses_any_step_loses_nothing(workshop: Workshop, number: int) -> None:
    for step in some_steps(workshop, 2, seed=number):
        attacks.refused_at_step(workshop, step, number)


@pytest.mark.parametrize(
    "sent",
    [
        signal.SIGKILL,
        signal.SIGTERM,
        *(pytest.param(each, marks=pytest.mark.slow) for each in attacks.ENDS if each != 15),
    ],
)
def test_a_signal_at_any_moment_loses_nothing(workshop: Workshop, sent: signal.Signals) -> None:
    moments = random.Random(sent)
    for _ in range(2):
        attacks.stopped_after(workshop, moments.uniform(0, workshop.seconds), sent)


@pytest.mark.parametrize("size", [600, pytest.param(5000, marks=pytest.mark.slow)])
def test_files_that_may_not_grow_lose_nothing(workshop: Workshop, size: int) -> None:
    attacks.limited(workshop, size)


def test_a_disk_that_is_filled_loses_nothing(workshop: Workshop) -> None:
    if not attacks.filled(workshop, 64):
        pytest.skip("no disk can be made here")


def test_readers_during_writes_get_complete_shards(workshop: Workshop) -> None:
    assert attacks.read_while_written(workshop) > 0


@pytest.mark.parametrize("kind", ["network", "decoder", "memory"])
def test_a_failure_in_the_middle_loses_nothing(workshop: Workshop, kind: str) -> None:
    attacks.failed_at_call(workshop, kind, 5)


@pytest.mark.parametrize("mode", [0o555, pytest.param(0o000, marks=pytest.mark.slow)], ids=oct)
def test_a_cache_without_permissions_loses_nothing(workshop: Workshop, mode: int) -> None:
    attacks.not_allowed(workshop, mode)


@pytest.mark.parametrize("seed", [1])
def test_eight_processes_with_kills_make_the_cache_of_one(workshop: Workshop, seed: int) -> None:
    attacks.together(workshop, seed)


def _die_with_the_lock_of_progress_bars() -> None:
    tqdm.get_lock().acquire()
    os.kill(os.getpid(), signal.SIGKILL)


def _take_the_lock_of_progress_bars() -> None:
    with tqdm.get_lock():
        pass


def test_a_killed_process_holds_no_lock_of_others() -> None:
    killed = fork(_die_with_the_lock_of_progress_bars)
    killed.join()
    other = fork(_take_the_lock_of_progress_bars)
    other.join(60)
    hangs = other.exitcode is None
    other.kill()
    assert (killed.exitcode, hangs) == (-signal.SIGKILL, False)


def test_any_flipped_bit_of_a_cache_is_found(workshop: Workshop) -> None:
    attacks.flipped(workshop, 1, count=10)


@pytest.mark.slow
def test_a_kill_while_views_are_added_loses_nothing(workshop: Workshop) -> None:
    views = views_workshop(workshop)
    for step in some_steps(views, 2, seed=3):
        attacks.killed_at_step(views, step)


def test_a_kill_during_an_update_loses_nothing(workshop: Workshop) -> None:
    update = update_workshop(workshop)
    for step in some_steps(update, 1, seed=2):
        attacks.killed_at_step(update, step)
    attacks.stopped_after(update, update.seconds / 2, signal.SIGKILL)


@pytest.mark.slow
def test_a_tuning_that_is_killed_ends_as_if_it_had_not_been() -> None:
    with tuning.open_tuning_workshop() as maps:
        saving_the_second_epoch, removing_the_state = 12, maps.steps - 3
        for step in (saving_the_second_epoch, removing_the_state):
            tuning.tuning_killed_at_step(maps, step)


# Sources of images


@pytest.mark.parametrize("seed", [1, 2])
def test_a_changed_archive_is_read_or_refused_in_one_line(seed: int) -> None:
    fuzz_sources.tars(seed, 150)


@pytest.mark.parametrize("seed", [1, 2])
def test_a_changed_array_is_read_or_refused_in_one_line(seed: int) -> None:
    fuzz_sources.npz_files(seed, 150)


def test_a_changed_table_is_read_or_refused_in_one_line() -> None:
    assert fuzz_sources.tables(1, 50) == (50, 0)
