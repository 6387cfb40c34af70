"""Batches at a time and threads of each: together they fill the cores, and no more."""

import pytest
import torch

from bottleneck.backbones import parallelism as module


@pytest.mark.parametrize(
    ("cpus", "batches", "threads"), [(1, 1, 1), (2, 2, 1), (16, 16, 1), (31, 16, 1), (64, 16, 4)]
)
def test_batches_and_their_threads_fill_the_cores(
    cpus: int, batches: int, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "available_cpus", lambda: cpus)
    assert module.batches_at_a_time(torch.device("cpu")) == batches
    assert module.threads_of_a_batch(batches) == threads
    assert module.use_all_cpus(batches) == (batches == cpus)


def test_the_number_of_threads_is_restored_after_an_error() -> None:
    before = torch.get_num_threads()
    with pytest.raises(ZeroDivisionError), module.arithmetic_threads(before + 1):
        assert torch.get_num_threads() == before + 1
        raise ZeroDivisionError
    assert torch.get_num_threads() == before
