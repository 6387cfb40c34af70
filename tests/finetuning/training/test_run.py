"""Which epoch of a training counts."""

import json
import math

import pytest

from bottleneck.finetuning.training.run import (
    EpochScores,
    TrainingRun,
)


def test_without_patience_the_end_counts_and_no_epoch_before_it() -> None:
    start, *between, end = (EpochScores(i, 1.0, 1.0, score) for i, score in enumerate((3, 9, 4)))
    assert TrainingRun(0.1, (start, *between, end), False, 0.0).best == end
    assert TrainingRun(0.1, (end, *between, start), False, 0.0).best == start
    assert TrainingRun(0.1, (start, *between, end), False, 0.0, True).best == between[0]
    assert TrainingRun(0.1, (between[0], end, start), False, 0.0, True).best == end
    for early in (False, True):  # of a last training of no epochs
        assert TrainingRun(0.1, (start,), False, 0.0, early).best == start


@pytest.mark.parametrize("loss", [math.nan, math.inf])
def test_a_training_that_diverged_is_json_all_the_same(loss: float) -> None:
    run = TrainingRun(0.1, (EpochScores(0, None, 0.7, 0.5), EpochScores(1, loss)), True, 0.0)
    text = json.dumps(run.to_dict(), allow_nan=False)
    start, end = json.loads(text)["curves"]
    assert start == vars(run.start)
    assert end == {"epoch": 1, "loss": None, "kept_back_loss": None, "kept_back_score": None}
