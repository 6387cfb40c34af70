from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score, balanced_accuracy_score, log_loss
from sklearn.utils.class_weight import compute_sample_weight
from torch.nn import functional as F  # noqa: N812

from bottleneck.finetuning.training.losses import Loss, score
from tests.helpers.tails import examples

CPU = torch.device("cpu")
UNEVEN = np.array([0, 0, 0, 0, 1, 1, 2, 0])
SEVERAL = np.array([[1, 0], [1, 1], [1, 0], [0, 0], [1, 0]], dtype=bool)


@pytest.mark.parametrize("weight", [None, "balanced"])
def test_the_loss_is_scikit_learns_log_loss(weight: str | None) -> None:
    values = torch.randn(8, 3, dtype=torch.float64)
    loss = Loss(examples(8, targets=UNEVEN), weight, CPU)
    rows = None if weight is None else compute_sample_weight("balanced", UNEVEN)
    expected = log_loss(UNEVEN, values.softmax(1), sample_weight=rows)
    assert float(loss(values, np.arange(8))) == pytest.approx(expected, rel=1e-5)


def test_a_batch_has_the_targets_and_weights_of_its_rows() -> None:
    values, loss = torch.randn(8, 3), Loss(examples(8, targets=UNEVEN), "balanced", CPU)
    index = np.array([6, 0])
    weights = compute_sample_weight("balanced", UNEVEN)[index]
    each = F.cross_entropy(values[:2], torch.tensor([2, 0]), reduction="none").numpy()
    assert float(loss(values[:2], index)) == pytest.approx((weights * each).mean(), rel=1e-5)


def test_a_label_that_most_images_have_weighs_as_much_as_its_absence() -> None:
    loss = Loss(examples(5, targets=SEVERAL), "balanced", CPU)
    weights = loss._weights.numpy()
    for label in (0, 1):
        having = SEVERAL[:, label]
        assert weights[having, label].sum() == pytest.approx(weights[~having, label].sum())
    assert weights.mean() == pytest.approx(1)


@pytest.mark.parametrize("targets", [UNEVEN, SEVERAL])
def test_guessing_has_the_loss_of_zeros(targets: NDArray[Any]) -> None:
    some = examples(len(targets), targets=targets)
    loss = Loss(some, None, CPU)
    zeros = torch.zeros(len(targets), some.classes)
    assert float(loss(zeros, np.arange(len(targets)))) == pytest.approx(loss.of_guessing)


def test_scores_are_scikit_learns() -> None:
    values = np.random.default_rng(1).normal(size=(8, 3))
    some = examples(8, targets=UNEVEN)
    assert score(values, some, None) == np.mean(values.argmax(1) == UNEVEN)
    expected = balanced_accuracy_score(UNEVEN, values.argmax(1))
    assert score(values, some, "balanced") == pytest.approx(expected)
    several = examples(5, targets=SEVERAL)
    expected = average_precision_score(SEVERAL, values[:5, :2])
    assert score(values[:5, :2], several, "balanced") == pytest.approx(expected)
