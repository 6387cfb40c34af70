from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bottleneck.errors import LabelsError, TrainingError
from bottleneck.finetuning.loading.batches import Examples
from bottleneck.finetuning.options import TuneOptions
from bottleneck.finetuning.training import choice as module
from bottleneck.finetuning.training import trainer as trainer_module
from bottleneck.finetuning.training.choice import Choice, choose_recipe
from bottleneck.finetuning.training.forward import tail_codes
from bottleneck.finetuning.training.run import EpochScores, TrainingRun
from bottleneck.finetuning.training.trainer import Trainer
from tests.helpers.tails import a_tail, examples, on_cpu


def choose(some: Examples, options: TuneOptions, **more: Any) -> Choice:
    tail = a_tail()
    return choose_recipe(Trainer(tail, some, tail_codes(tail, some, options), options, **more))


@pytest.mark.parametrize("patience", [pytest.param(None, marks=pytest.mark.slow), 3])
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
    assert len({run.curves[0] for run in chosen.runs}) == 1
    assert chosen.start == chosen.runs[0].curves[0]
    repeats = chosen.repeats
    assert repeats is not None
    assert [(run.lr, len(run.curves) - 1) for run in repeats.runs] == [
        (chosen.lr, chosen.epochs)
    ] * 4
    assert len(list(tmp_path.iterdir())) == 3 + 4


def test_a_rate_that_is_given_is_the_only_one() -> None:
    chosen = choose(examples(60), on_cpu(epochs=2, lr=0.02))
    assert [run.lr for run in chosen.runs] == [0.02]
    assert chosen.to_dict()["lr"] == 0.02


class Trainings:
    """In place of `train`: scores that are given, and notes of what was to be trained."""

    def __init__(self, *scores: tuple[float, float | None]) -> None:
        self._scores = list(scores)  # before and after; after a training that diverged none
        self.calls: list[tuple[Examples, Examples]] = []

    def __call__(
        self, _module: Any, training: Examples, _options: TuneOptions, **kw: Any
    ) -> TrainingRun:
        before, after = self._scores[len(self.calls) % len(self._scores)]
        self.calls.append((training, kw["kept_back"]))
        loss = None if after is None else 0.5
        curves = (EpochScores(0, None, 1.0, before), EpochScores(1, 0.5, loss, after))
        return TrainingRun(kw["lr"], curves, after is None, 0.0)


@pytest.fixture
def trainings(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Trainings]:
    def use(*scores: tuple[float, float | None]) -> Trainings:
        made = Trainings(*scores)
        monkeypatch.setattr(trainer_module, "train", made)
        return made

    return use


def test_images_kept_back_are_of_other_groups_and_unknown_to_the_start(
    trainings: Callable[..., Trainings], monkeypatch: pytest.MonkeyPatch
) -> None:
    some, made, starts = examples(60, groups=np.arange(60) // 5), trainings((0.5, 0.6)), []
    monkeypatch.setattr(trainer_module, "start_module", lambda *args, **_: starts.append(args[1]))
    choose(some, on_cpu(lr=0.1))
    for (training, kept_back), codes in zip(made.calls, starts, strict=True):
        assert training.groups is not None
        assert kept_back.groups is not None
        assert not set(training.groups) & set(kept_back.groups)
        assert sorted([*training.rows, *kept_back.rows]) == some.rows.tolist()
        assert len(kept_back) in range(8, 17)
        assert np.array_equal(codes.targets, training.targets)
        assert np.array_equal(codes.groups, training.groups)
    in_turn = np.concatenate([kept_back.rows for _, kept_back in made.calls])
    assert sorted(in_turn) == some.rows.tolist()


def test_a_rate_that_diverged_is_not_chosen(trainings: Callable[..., Trainings]) -> None:
    trainings((0.4, 0.5), (0.4, 0.6), (0.4, None), *[(0.4, 0.6)] * 4)
    options = on_cpu()
    chosen = choose(examples(30), options)
    assert (chosen.lr, chosen.epochs, len(chosen.runs)) == (options.rates()[1], 1, 3)


def test_where_every_rate_diverges_there_is_no_result() -> None:
    with pytest.raises(TrainingError, match="every training diverged, at a learning rate of 10000"):
        choose(examples(30), on_cpu(optimizer="sgd", lr=1e4))


@pytest.mark.parametrize(
    ("parts", "epochs"),
    [
        # Of a few images chance decides; of all parts more are right before, or after.
        ([(0.4, 0.9), (0.9, 0.7), (0.9, 0.7), (0.9, 0.7), (0.9, 0.7)], 0),
        ([(0.9, 0.8), (0.4, 0.5), (0.4, 0.5), (0.4, 0.5), (0.4, 0.5)], 1),
        # As many are right, and with less doubt.
        ([(0.5, 0.5)] * 5, 1),
        # A rate that is sound for one part only is not sound.
        ([(0.4, 0.9), (0.4, 0.9), (0.4, None), (0.4, 0.9), (0.4, 0.9)], 0),
    ],
)
def test_all_parts_decide_whether_training_is_better_than_its_start(
    parts: list[tuple[float, float | None]], epochs: int, trainings: Callable[..., Trainings]
) -> None:
    trainings(*parts)
    chosen = choose(examples(30), on_cpu(lr=0.1))
    assert chosen.epochs == epochs
    repeats = chosen.repeats
    assert repeats is not None
    assert repeats.images == 30
    assert len(repeats.runs) == 4
    assert repeats.start.kept_back_score == pytest.approx(np.mean([start for start, _ in parts]))
    ends = [end for _, end in parts if end is not None]
    mean = pytest.approx(np.mean(ends)) if len(ends) == len(parts) else None
    assert repeats.end.kept_back_score == mean


def test_parts_count_by_their_images(trainings: Callable[..., Trainings]) -> None:
    some = examples(31)
    made = trainings((0.0, 1.0), *[(0.5, 0.5)] * 4)
    repeats = choose(some, on_cpu(lr=0.1)).repeats
    assert repeats is not None
    sizes = [len(kept_back) for _, kept_back in made.calls]
    assert len(set(sizes)) > 1
    assert repeats.end.kept_back_score == pytest.approx(0.5 + 0.5 * sizes[0] / 31)
    assert repeats.to_dict()["end"]["kept_back_score"] == repeats.end.kept_back_score


@pytest.mark.parametrize(("images", "trials"), [(60, 5), (120, 3), (240, 2), (270, 1)])
def test_a_trial_is_repeated_until_enough_images_were_judged(
    images: int, trials: int, trainings: Callable[..., Trainings], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_ENOUGH", 54)
    made = trainings((0.4, 0.9))
    chosen = choose(examples(images), on_cpu(lr=0.1))
    assert len(made.calls) == trials
    assert (chosen.repeats is None) == (trials == 1)


def test_a_trial_is_repeated_as_the_last_training_will_be(monkeypatch: pytest.MonkeyPatch) -> None:
    recipes: list[tuple[int, int | None]] = []

    def noted(_module: Any, _training: Any, options: TuneOptions, **kw: Any) -> TrainingRun:
        recipes.append((kw["epochs"], options.patience))
        curves = tuple(EpochScores(i, 1.0, 1.0, score) for i, score in enumerate((0.5, 0.9, 0.6)))
        return TrainingRun(0.1, curves, False, 0.0, early_stopping=options.patience is not None)

    monkeypatch.setattr(trainer_module, "train", noted)
    chosen = choose(examples(30), on_cpu(lr=0.1, epochs=5, patience=2))
    assert recipes == [(5, 2)] + [(1, None)] * 4
    assert chosen.epochs == 1


def test_a_start_that_is_no_classifier_is_not_compared() -> None:
    chosen = choose(examples(30), on_cpu(init="fresh", lr=0.01, epochs=2))
    assert (chosen.repeats, chosen.epochs) == (None, 2)
    assert chosen.to_dict()["repeats"] is None


def test_a_class_of_one_image_cannot_be_kept_back() -> None:
    some = examples(10, targets=np.array([0, 0, 0, 0, 1, 1, 1, 1, 1, 2]))
    with pytest.raises(LabelsError, match="single training image"):
        choose(some, on_cpu())
