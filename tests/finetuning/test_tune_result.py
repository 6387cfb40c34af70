"""The text and the plain values of a tuning."""

import dataclasses
import json
from typing import Any

import numpy as np
import pytest
from torch import nn

from bottleneck.backbones.backbone import load_backbone
from bottleneck.extraction.setup.loading import make_spec
from bottleneck.finetuning.options import TuneOptions
from bottleneck.finetuning.training.choice import Choice, Repeats
from bottleneck.finetuning.training.module import TunedModule
from bottleneck.finetuning.training.run import EpochScores, TrainingRun
from bottleneck.finetuning.tune_result import TuneResult
from bottleneck.finetuning.tuned_tail import TunedTail
from bottleneck.fitting.loading.features import Features
from bottleneck.fitting.scoring.paired import compare_pairs
from bottleneck.fitting.scoring.scores import score_classes
from tests.helpers.fit_results import a_fit
from tests.helpers.networks import SMALL
from tests.helpers.tuning import BOUNDARY, CHAIN

TRUE = np.repeat([0, 1], 20)


def predictions(right: int) -> Any:
    """Predictions of which the first `right` are right."""
    return np.where(np.arange(40) < right, TRUE, 1 - TRUE)


def a_result(tail: int = 38, linear: int = 30, **changes: Any) -> TuneResult:
    backbone = load_backbone(CHAIN, transform=SMALL)
    classes = ["ants", "bees"]
    module = TunedModule(backbone.tail(BOUNDARY), classes=2)
    tuned = TunedTail.of_module(
        module,
        TuneOptions(),
        features=Features((BOUNDARY,)),
        classes=classes,
        multilabel=False,
        spec=make_spec(backbone, precision="float32", relu=True, pool="none"),
        reference=backbone.reference,
        training_record={},
    )
    scores = {n: score_classes(TRUE, predictions(n), classes, split="test") for n in (tail, linear)}
    start = EpochScores(0, None, 0.7, 0.6)
    sound = TrainingRun(1e-3, (start, EpochScores(1, 0.6, 0.5, 0.8)), diverged=False, seconds=3)
    wild = TrainingRun(1.0, (start, EpochScores(1, 99.0)), diverged=True, seconds=1)
    values: dict[str, Any] = {
        "tail": tuned,
        "heldout": scores[tail],
        "linear": a_fit(heldout=scores[linear]),
        "comparison": compare_pairs(predictions(tail) == TRUE, predictions(linear) == TRUE),
        "choice": Choice(1e-3, 1, (sound, wild), 9),
        "run": sound,
        "train": 45,
        "train_digest": "5e",
        "seconds": 7.0,
        "labels": None,
        "rejected": {},
    }
    return TuneResult(**values | changes)


def test_its_text_is_trials_training_both_scores_and_which_to_take() -> None:
    lines = str(a_result()).splitlines()
    assert lines[0].split("  ")[0] == "learning rate"
    assert lines[1].split() == ["0", "0", "60.0%", "0.700", "the", "start"]
    assert lines[2].split() == ["0.001", "1", "of", "1", "80.0%", "0.500", "chosen"]
    assert lines[3].split() == ["1", "-", "-", "-", "diverged"]
    assert lines[4] == "(9 of 45 training images kept back)"
    assert lines[6].startswith("tail behind 2: 45 images of 2 classes, ")
    assert ", precision float32, learning rate 0.001, 1 epochs in 3 s" in lines[6]
    assert lines[7].startswith("held-out test  95.0% of 40 (95 % interval ")
    assert lines[-3].startswith("linear head on layer3, as pretrained: held-out test  75.0% of 40")
    assert lines[-2] == (
        "the tail is right alone on 8 images against 0, p = 0.0078 (McNemar's exact test)"
    )
    assert lines[-1] == (
        "take the tuned tail: it is better by 20.0 points, which is more than chance"
    )


@pytest.mark.parametrize(
    ("tail", "linear", "better", "verdict"),
    [
        (38, 30, True, "take the tuned tail: it is better by 20.0 points"),
        (30, 38, False, "take the linear head: it is better by 20.0 points"),
        (33, 30, False, "take the linear head: on 40 images they differ by what may be chance"),
        (30, 30, False, "take the linear head: on 40 images they are right on the same ones"),
    ],
)
def test_the_verdict_is_that_of_the_test(
    tail: int, linear: int, better: bool, verdict: str
) -> None:
    result = a_result(tail, linear)
    assert result.better is better
    assert result.verdict.startswith(verdict)


def test_the_file_is_named_before_the_remarks() -> None:
    lines = a_result(rejected={"a.jpg": "the file is empty"}).format("saved x").splitlines()
    assert lines[-2:] == ["saved x", "rejected: a.jpg: the file is empty"]
    many = a_result(rejected={f"{i}.jpg": "no" for i in range(13)})
    assert many.remarks[-1] == "… and 3 more"


def test_plain_values_have_the_keys_of_a_fit_and_more() -> None:
    result = a_result()
    values = json.loads(json.dumps(result.to_dict()))
    assert set(a_fit().to_dict()) <= set(values)
    assert (values["clf"], values["layer"], values["layers"]) == ("tail", "2", ["2"])
    assert (values["lr"], values["epochs"], values["train"]) == (1e-3, 1, 45)
    assert values["linear"]["accuracy"] == 0.75
    assert values["heldout"]["accuracy"] == result.score == 0.95
    assert values["comparison"] == {
        "gained": 8,
        "lost": 0,
        "p": pytest.approx(2 / 2**8),
        "groups": None,
    }
    network = load_backbone(CHAIN).network
    assert isinstance(network, nn.Sequential)
    trained = sum(t.numel() for t in network[3:8].state_dict().values()) + 2 * 8 + 2
    assert values["parameters"] == trained
    assert result.with_seconds(2.5).tail.training_record["seconds"] == 2.5


def test_trials_on_other_images_have_a_line() -> None:
    run = a_result().run
    means = EpochScores(0, None, 0.8, 0.5), EpochScores(1, None, 0.6, 0.75)
    choice = dataclasses.replace(a_result().choice, repeats=Repeats((run, run), 27, *means))
    lines = str(a_result(choice=choice)).splitlines()
    assert lines[5] == (
        "27 kept back in turn: the start 50.0%, loss 0.800; learning rate 0.001 75.0%, loss 0.600"
    )


def test_a_tail_that_stays_as_it_was_says_so() -> None:
    choice = dataclasses.replace(a_result().choice, epochs=0)
    text = str(a_result(choice=choice))
    assert "training was no better than its start" in text
    assert "chosen" not in text
