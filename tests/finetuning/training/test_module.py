from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from bottleneck.finetuning.training.forward import logits, tail_codes
from bottleneck.finetuning.training.module import (
    TunedModule,
    choose_output_c,
    install_head,
    start_module,
)
from bottleneck.fitting import make_folds
from bottleneck.linear.training import ClassifierOptions, train
from tests.helpers.datasets import by_sklearn
from tests.helpers.exports import TEMPERATURE, a_head, plain_network
from tests.helpers.tails import a_tail, examples, on_cpu

SEVERAL = np.random.default_rng(3).random((40, 3)) < 0.5


@pytest.mark.parametrize("views", [1, 3])
@pytest.mark.parametrize("classes", [2, 3])
def test_before_the_first_step_the_logits_are_those_of_the_softmax_head(
    classes: int, views: int
) -> None:
    targets = np.arange(40) % classes
    some = replace(examples(40, views=views, targets=targets), classes=classes)
    tail = a_tail()
    codes = tail_codes(tail, some, on_cpu())
    module = start_module(tail, codes, on_cpu(), c=0.3)
    values = logits(module, some, on_cpu())
    (rows,) = codes.codes.blocks()
    scaler, solution = train(codes, ClassifierOptions("softmax"), c=0.3, scaling="none")
    own = solution.decision_function(scaler(rows.astype(np.float64)))
    own = own.reshape(len(some), views, -1).mean(axis=1)
    margins = values[:, 1:] - values[:, :1] if classes == 2 else values
    assert np.allclose(margins, own, atol=1e-5)
    head = by_sklearn("softmax", 0.3 / views, "none").fit(rows, np.repeat(some.targets, views))
    expected = head.decision_function(rows)
    expected = expected.reshape(len(some), views, -1).mean(axis=1)
    expected = expected if classes == 2 else centred(expected)
    # To the tolerance of the solvers, of which each stops somewhere else.
    assert np.allclose(margins if classes == 2 else centred(margins), expected, atol=2e-2)


def centred(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(values - values.mean(axis=1, keepdims=True))


def test_with_several_labels_each_has_its_own_logistic_head() -> None:
    some, tail = examples(40, targets=SEVERAL), a_tail()
    codes = tail_codes(tail, some, on_cpu())
    values = logits(start_module(tail, codes, on_cpu(), c=0.5), some, on_cpu())
    (rows,) = codes.codes.blocks()
    for label in range(3):
        head = by_sklearn("softmax", 0.5, "none").fit(rows, SEVERAL[:, label])
        assert np.allclose(values[:, label], head.decision_function(rows), atol=1e-2)


@pytest.mark.parametrize("multilabel", [False, True])
def test_an_output_that_is_a_head_gives_its_log_probabilities(multilabel: bool) -> None:
    network = plain_network()
    tail = network.tail("layer1")
    calibration = None if multilabel else TEMPERATURE
    head = a_head(network, [tail.output], multilabel=multilabel, calibration=calibration)
    module = TunedModule(tail, classes=3)
    install_head(module, head)
    maps = torch.rand(5, *tail.in_shape)
    with torch.no_grad():
        values, codes = module.eval()(maps), tail(maps)
    margins = head.decision_function(codes.numpy())
    logits = margins if multilabel else margins * TEMPERATURE.slope
    np.testing.assert_allclose(values, logits, atol=1e-4)


def test_the_c_of_an_output_is_that_of_a_head_on_the_codes_as_they_are() -> None:
    some, tail = examples(60), a_tail()
    codes = tail_codes(tail, some, on_cpu())
    (rows,) = codes.codes.blocks()
    found = choose_output_c(codes, on_cpu())
    scores = {
        c: np.mean(
            [
                by_sklearn("softmax", c, "none")
                .fit(rows[taken], some.targets[taken])
                .score(rows[kept], some.targets[kept])
                for taken, kept in make_folds(codes, 5)
            ]
        )
        for c in (found, *np.logspace(-3, 5, 9))
    }
    assert scores[found] >= max(scores.values()) - 1 / len(some)  # to the solvers' tolerances
    assert choose_output_c(codes, on_cpu(init="fresh")) == 1.0


def test_the_tail_is_copied_and_can_be_trained() -> None:
    tail = a_tail(dropout=0.4)
    codes = tail_codes(tail, examples(), on_cpu())
    module = start_module(tail, codes, on_cpu())
    assert module.dropout.p == 0.4
    assert all(parameter.requires_grad for parameter in module.parameters())
    with torch.no_grad():
        module.get_parameter("tail.conv1.weight").zero_()
    assert tail.conv1.weight.abs().sum() > 0


def test_dropout_puts_the_mean_in_place_of_a_value_if_the_output_is_fitted() -> None:
    some, tail = examples(40), a_tail(dropout=1 - 1e-9)  # all values but one in a billion
    codes = tail_codes(tail, some, on_cpu())
    (rows,) = codes.codes.blocks()
    maps = torch.from_numpy(some.batches.maps[0])  # type: ignore[attr-defined]
    head = start_module(tail, codes, on_cpu()).train()
    mean = torch.from_numpy(rows.mean(axis=0))
    assert torch.allclose(head(maps), head.output(mean).expand(40, 3), atol=1e-4)
    fresh = start_module(tail, codes, on_cpu(init="mlp", hidden=4)).train()
    nothing = fresh.output(torch.zeros(6))
    assert torch.allclose(fresh(maps), nothing.expand(40, 3), atol=1e-6)


def test_new_outputs_prefer_no_class_and_new_units_depend_on_the_seed() -> None:
    tail, some = a_tail(), examples()
    codes = tail_codes(tail, some, on_cpu())
    fresh = start_module(tail, codes, on_cpu(init="fresh"))
    assert (logits(fresh, some, on_cpu()) == 0).all()
    before = torch.random.get_rng_state()
    options = [on_cpu(init="mlp", hidden=5, seed=seed) for seed in (0, 0, 1)]
    hidden = [
        start_module(tail, codes, option).get_parameter("output.0.weight") for option in options
    ]
    assert torch.equal(torch.random.get_rng_state(), before)
    assert torch.equal(hidden[0], hidden[1])
    assert not torch.equal(hidden[0], hidden[2])


def test_names_of_the_state_are_those_of_its_parts() -> None:
    linear = set(TunedModule(a_tail(), classes=3).state_dict())
    mlp = set(TunedModule(a_tail(), classes=3, hidden=5).state_dict())
    assert {"tail.conv1.weight", "output.weight", "output.bias"} <= linear
    assert {"output.0.weight", "output.0.bias", "output.2.weight", "output.2.bias"} <= mlp
