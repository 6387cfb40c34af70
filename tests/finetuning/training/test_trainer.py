"""What the trainings of a tail begin with, and how each is told which one it is."""

from pathlib import Path

import numpy as np
import pytest
import torch

from bottleneck.finetuning.training.forward import tail_codes
from bottleneck.finetuning.training.loop import train
from bottleneck.finetuning.training.module import start_module
from bottleneck.finetuning.training.run import TrainingProgress
from bottleneck.finetuning.training.trainer import Trainer
from tests.helpers.tails import a_tail, examples, on_cpu


@pytest.mark.parametrize("divided", [False, True])
def test_each_training_begins_at_the_start_of_its_own_images(tmp_path: Path, divided: bool) -> None:
    tail, some, options = a_tail(), examples(40), on_cpu(epochs=2)
    codes, told = tail_codes(tail, some, options), list[TrainingProgress]()
    rows, others = np.arange(0, 40, 2), np.arange(1, 40, 2)
    trainer = Trainer(tail, some, codes, options, 0.3, tmp_path, told.append)
    trainer.train(0.05, 1, number=1, trainings=3)
    told.clear()
    fold = (rows, others) if divided else None
    module, run = trainer.train(0.01, 2, number=2, trainings=3, fold=fold)

    used = rows if divided else np.arange(40)
    expected = start_module(tail, codes.take(used), options, c=0.3)
    kept_back = some.take(others) if divided else None
    again = train(expected, some.take(used), options, lr=0.01, epochs=2, kept_back=kept_back)
    assert run.curves == again.curves
    for name, value in expected.state_dict().items():
        assert torch.equal(module.state_dict()[name], value)
    assert {(each.number, each.trainings) for each in told} == {(2, 3)}
    assert (told[0].done, told[0].kept_back) == (0, 20 if divided else 0)
    assert len(list(tmp_path.iterdir())) == 2


def test_a_training_needs_no_callback() -> None:
    tail, some, options = a_tail(), examples(12), on_cpu(epochs=1)
    trainer = Trainer(tail, some, tail_codes(tail, some, options), options)
    _, run = trainer.train(0.01, 1, number=1, trainings=1)
    assert len(run.curves) == 2
