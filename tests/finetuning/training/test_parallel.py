from pathlib import Path

import numpy as np
import pytest
import torch
from torch import distributed
from torch.multiprocessing.spawn import spawn

from bottleneck.finetuning.training import loop, parallel
from bottleneck.finetuning.training.forward import tail_codes
from bottleneck.finetuning.training.loop import train
from bottleneck.finetuning.training.module import TunedModule, start_module
from tests.helpers.tails import a_tail, examples, on_cpu


def trained(batch_size: int, *, n: int = 32) -> tuple[TunedModule, list[float | None]]:
    some, options = examples(n), on_cpu(epochs=2, batch_size=batch_size)
    tail = a_tail()
    module = start_module(tail, tail_codes(tail, some, options), options)
    run = train(module, some, options, lr=0.01, epochs=2, kept_back=examples(9, seed=1))
    return module, [scores.loss for scores in run.curves]


def test_a_group_of_one_process_trains_as_one_process(tmp_path: Path) -> None:
    alone, expected = trained(8)
    url = f"file://{tmp_path / 'group'}"
    distributed.init_process_group("gloo", init_method=url, rank=0, world_size=1)
    try:
        module, losses = trained(8)
    finally:
        distributed.destroy_process_group()
    assert losses == expected
    assert torch.equal(module.last.weight, alone.last.weight)


@pytest.mark.parametrize("count", [12, 14])
def test_every_process_has_its_own_images_and_as_many(
    count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parallel, "processes", lambda: 3)
    left_out = set()
    for epoch in range(100):
        parts = []
        for number in range(3):
            monkeypatch.setattr(parallel, "rank", lambda number=number: number)
            parts.append(parallel.own_part(count, seed=0, epoch=epoch))
        assert [len(part) for part in parts] == [4, 4, 4]
        together = np.concatenate(parts)
        assert len(set(together.tolist())) == 12
        left_out |= set(range(count)) - set(together.tolist())
    assert len(left_out) == (0 if count == 12 else count)


def test_every_process_draws_its_own_dropout(monkeypatch: pytest.MonkeyPatch) -> None:
    seeds = set()
    for number in range(3):
        monkeypatch.setattr(loop, "rank", lambda number=number: number)
        seeds.add(loop._epoch_seed(0, 1))
    assert len(seeds) == 3


def test_a_process_that_torchrun_did_not_start_joins_no_group() -> None:
    with parallel.process_group():
        assert not distributed.is_initialized()
        assert (parallel.processes(), parallel.rank()) == (1, 0)


def _train_as(rank: int, url: str, folder: Path) -> None:
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=url, rank=rank, world_size=2)
    module, losses = trained(16)
    torch.save((module.last.weight.detach(), losses), folder / str(rank))
    distributed.destroy_process_group()


@pytest.mark.slow
def test_two_processes_train_as_one_of_batches_twice_as_large(tmp_path: Path) -> None:
    url = f"file://{tmp_path / 'group'}"
    spawn(_train_as, (url, tmp_path), nprocs=2)  # type: ignore[no-untyped-call]
    (one, losses), (two, others) = (torch.load(tmp_path / str(rank)) for rank in range(2))
    assert torch.equal(one, two)
    assert losses == others
    alone, expected = trained(32)
    assert losses[1:] == pytest.approx(expected[1:], rel=1e-4)
    assert torch.allclose(one, alone.last.weight, rtol=1e-4)
