from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bottleneck.errors import LabelsError, TrainingError
from bottleneck.finetuning.loading.batches import Examples
from bottleneck.finetuning.options import TuneOptions
from bottleneck.finetuning.training import choice as module
from bottleneck.finetuning.training.choice import Choice, choose_recipe
from bottleneck.finetuning.training.forward import tail_codes
from bottleneck.finetuning.training.loop import EpochScores, TrainingRun
from tests.helpers.tails import a_tail, examples, on_cpu


def choose(some: Examples, options: TuneOptions, **more: Any) -> Choice:
    tail = a_tail()
    return choose_recipe(tail, some, tail_codes(tail, some, options), options, **more)


@pytest.mark.parametrize("patience", [None, 3])
def test_the_best_rate_of_the_grid_is_chosen_with_its_epochs(
    tmp_path: Path, patience: int | None
) -> None:
    some, options = examples(90), on_cpu(epochs=6, optimizer="sgd", patience=patience)
    chosen = choose(some, options, resume=tmp_path)
    assert [run.lr for run in chosen.runs] == list(options.rates())
    best = max(chosen.runs, key=lambda run: run.best.goodness)
    assert (chosen.lr, chosen.epochs) == (best.lr, best.best.epoch)
    assert patience or chosen.epochs == 6
    assert chosen.kept_back == 18
    assert len(list(tmp_path.iterdir())) == 3
    assert len({run.curves[0] for run in chosen.runs}) == 1
    assert chosen.start == chosen.runs[0].curves[0]


def test_a_rate_that_is_given_is_the_only_one() -> None:
    chosen = choose(examples(60), on_cpu(epochs=2, lr=0.02))
    assert [run.lr for run in chosen.runs] == [0.02]
    assert chosen.to_dict()["lr"] == 0.02


def test_images_kept_back_are_of_other_groups_and_unknown_to_the_start(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    some = examples(60, groups=np.arange(60) // 5)
    calls: list[tuple[Examples, Examples]] = []
    starts: list[Any] = []

    def noted(_module: Any, training: Examples, options: Any, **kw: Any) -> TrainingRun:
        calls.append((training, kw["kept_back"]))
        return TrainingRun(kw["lr"], (EpochScores(0, None, 1.0, 0.5),), False, 0.0)

    monkeypatch.setattr(module, "train", noted)
    monkeypatch.setattr(module, "start_module", lambda *args, **_: starts.append(args[1]))
    choose(some, on_cpu(lr=0.1))
    ((training, kept_back),) = calls
    assert training.groups is not None
    assert kept_back.groups is not None
    assert not set(training.groups) & set(kept_back.groups)
    assert sorted([*training.rows, *kept_back.rows]) == some.rows.tolist()
    assert len(kept_back) in range(8, 17)
    (codes,) = starts
    assert np.array_equal(codes.targets, training.targets)
    assert np.array_equal(codes.groups, training.groups)


def runs(*scores: tuple[float, bool]) -> list[TrainingRun]:
    return [
        TrainingRun(
            float(i), (EpochScores(0, None, 1.0, 0.4), EpochScores(1, 0.5, 0.5, s)), bad, 0.0
        )
        for i, (s, bad) in enumerate(scores)
    ]


def test_a_rate_that_diverged_is_not_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    ready = iter(runs((0.5, False), (0.6, False), (0.9, True)))
    monkeypatch.setattr(module, "train", lambda *_, **__: next(ready))
    chosen = choose(examples(30), on_cpu())
    assert (chosen.lr, chosen.epochs, len(chosen.runs)) == (1.0, 1, 3)


def test_where_every_rate_diverges_there_is_no_result() -> None:
    with pytest.raises(TrainingError, match="every training diverged, at a learning rate of 10000"):
        choose(examples(30), on_cpu(optimizer="sgd", lr=1e4))


def test_where_no_epoch_is_better_than_the_start_there_is_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ready = iter(runs((0.3, False), (0.2, False), (0.1, False)))
    monkeypatch.setattr(module, "train", lambda *_, **__: next(ready))
    assert choose(examples(30), on_cpu()).epochs == 0


def test_a_class_of_one_image_cannot_be_kept_back() -> None:
    some = examples(10, targets=np.array([0, 0, 0, 0, 1, 1, 1, 1, 1, 2]))
    with pytest.raises(LabelsError, match="single training image"):
        choose(some, on_cpu())
