"""Which epoch of a training counts, and how a training is told which one it is."""

import json
import math
from dataclasses import replace

import pytest

from bottleneck.finetuning.training.run import (
    EpochScores,
    TrainingProgress,
    TrainingRun,
    numbered,
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


def test_a_training_that_is_numbered_tells_nothing_else() -> None:
    told: list[TrainingProgress] = []
    progress = TrainingProgress("tail; maps", 0.001, 2, 4, 10, 100, 25, EpochScores(1))
    on_progress = numbered(told.append, 3, 8)
    assert on_progress is not None
    on_progress(progress)
    assert told == [replace(progress, number=3, trainings=8)]
    assert told[0].counts == progress.counts == (110, 400)
    assert numbered(None, 3, 8) is None
