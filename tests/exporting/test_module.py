"""The exported module against a hook on the whole network, and the head in float64."""

import dataclasses

import numpy as np
import pytest
import torch

from bottleneck.backbones.backbone import Backbone
from bottleneck.exporting.module import ExportedModule
from bottleneck.fitting.heads.classifier import Classifier
from bottleneck.linear.calibration import Calibration
from bottleneck.linear.scaling import SCALINGS
from bottleneck.prediction.exported.metadata import ExportMetadata
from tests.helpers.exports import (
    PLATT,
    TEMPERATURE,
    a_head,
    a_tuned_tail,
    as_input,
    expected_scores,
    plain_network,
    some_pixels,
)

PIXELS = some_pixels(5)


@pytest.fixture(scope="module")
def network() -> Backbone:
    return plain_network(mean=(0.2, 0.5, 0.4), std=(0.3, 0.2, 0.4))


def module_of(
    classifier: Classifier, network: Backbone, input_type: str = "uint8"
) -> ExportedModule:
    return ExportedModule(classifier, network, ExportMetadata.of(classifier, input_type))


def run(module: ExportedModule, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    with torch.inference_mode():
        scores, labels = module(torch.from_numpy(images))
    assert scores.dtype == torch.float32
    return scores.numpy(), labels.numpy()


@pytest.mark.parametrize("layers", [["layer2"], ["layer3", "layer1"]], ids=len)
@pytest.mark.parametrize("scaling", SCALINGS)
def test_scores_are_the_heads_of_hooked_codes(
    network: Backbone, scaling: str, layers: list[str]
) -> None:
    head = a_head(network, layers, scaling=scaling)
    expected, values = expected_scores(head, network, PIXELS)
    scores, labels = run(module_of(head, network), PIXELS)
    np.testing.assert_allclose(scores, expected, atol=1e-6)
    assert labels.tolist() == values.argmax(axis=1).tolist()


@pytest.mark.parametrize("scaling", ["sqrt", "l2"])
def test_codes_may_be_negative(network: Backbone, scaling: str) -> None:
    head = a_head(network, ["layer3"], scaling=scaling, relu=False)
    expected, _ = expected_scores(head, network, PIXELS)
    scores, _ = run(module_of(head, network), PIXELS)
    np.testing.assert_allclose(scores, expected, atol=1e-6)


@pytest.mark.parametrize("size", [0.0, 1e-30, 1e30], ids=str)
def test_codes_of_any_size_are_divided_by_their_length(network: Backbone, size: float) -> None:
    head = a_head(network, ["layer2"], scaling="l2")
    codes = size * np.random.default_rng(0).random((2, head.coef.shape[1]))
    length = np.linalg.norm(codes, axis=1, keepdims=True)
    module = module_of(head, network)
    scaled = module.decide.get_submodule("")._scaled(torch.tensor(codes, dtype=torch.float32))  # type: ignore[operator]
    np.testing.assert_allclose(scaled, codes / np.where(length, length, 1), rtol=1e-6)


@pytest.mark.parametrize("calibration", [TEMPERATURE, PLATT, None], ids=["softmax", "platt", "-"])
def test_several_labels_are_those_of_margins_above_zero(
    network: Backbone, calibration: Calibration | None
) -> None:
    several = calibration is PLATT
    head = a_head(network, calibration=calibration, multilabel=several)
    expected, values = expected_scores(head, network, PIXELS)
    scores, labels = run(module_of(head, network), PIXELS)
    np.testing.assert_allclose(scores, expected, rtol=1e-5, atol=1e-6)
    if several:
        assert labels.tolist() == (values > 0).tolist()
        assert labels.tolist() != (expected > 0.5).tolist()  # which is not the rule
    else:
        assert labels.tolist() == values.argmax(axis=1).tolist()


def test_views_are_averaged_as_the_head_averages_them(network: Backbone) -> None:
    head = a_head(network, views=3)
    pixels = some_pixels(6).reshape(2, 3, 32, 32, 3)
    expected, _ = expected_scores(head, network, pixels.reshape(6, 32, 32, 3))
    module = module_of(head, network)
    assert module.metadata.shape == ("batch", 3, 32, 32, 3)
    assert module.example().shape == (2, 3, 32, 32, 3)
    scores, _ = run(module, pixels)
    assert expected.shape == (2, 3)
    np.testing.assert_allclose(scores, expected, atol=1e-6)


@pytest.mark.parametrize("views", [1, 2])
def test_images_may_be_floats_with_channels_first(network: Backbone, views: int) -> None:
    head = a_head(network, views=views)
    pixels = some_pixels(2 * views).reshape(2, *(views,) * (views > 1), 32, 32, 3)
    expected, labels = run(module_of(head, network), pixels)
    module = module_of(head, network, "float")
    floats = np.moveaxis(pixels, -1, -3).astype(np.float32) / 255
    assert module.metadata.shape == ("batch", *floats.shape[1:])
    scores, same = run(module, floats)
    np.testing.assert_allclose(scores, expected, atol=1e-6)
    assert same.tolist() == labels.tolist()


@pytest.mark.parametrize("hidden", [0, 5])
@pytest.mark.parametrize("boundary", ["layer1", None])
def test_a_tail_is_the_network_with_its_output(
    network: Backbone, boundary: str | None, hidden: int
) -> None:
    tail = a_tuned_tail(network, boundary, hidden=hidden)
    scores, labels = run(module_of(tail, network), PIXELS)
    whole = network.network
    with torch.inference_mode():
        images = as_input(PIXELS, network)
        maps = whole.get_submodule("layer3")(
            whole.get_submodule("layer2")(whole.get_submodule("layer1")(images))
        )
        assert tail.module is not None
        logits = tail.module.get_submodule("output")(maps.relu().mean((2, 3)))
    np.testing.assert_allclose(scores, logits.softmax(1).numpy(), atol=1e-6)
    assert labels.tolist() == logits.argmax(1).tolist()


def test_the_network_itself_stays_as_it_is(network: Backbone) -> None:
    before = {name: value.clone() for name, value in network.network.state_dict().items()}
    module = module_of(a_head(network), network)
    for value in module.state_dict().values():
        value.zero_()
    for name, value in network.network.state_dict().items():
        assert torch.equal(value, before[name])


def test_the_size_counts_each_tensor_once(network: Backbone) -> None:
    module = module_of(a_head(network, ["layer1"]), network)
    network_alone = sum(
        value.nbytes for value in network.network.get_submodule("layer1").state_dict().values()
    )
    head = 4 * (3 * 6 + 3 + 6 + 6 + 3 + 3)  # coef, intercept, mean and scale, slope and offset
    normalisation = 4 * 6
    assert module.size == network_alone + head + normalisation


def test_the_metadata_describes_the_classifier(network: Backbone) -> None:
    head = dataclasses.replace(a_head(network, ["layer1", "layer2"]), clf="softmax")
    metadata = module_of(head, network).metadata
    assert (metadata.labels, metadata.scores) == (["ants", "bees", "wasps"], "probabilities")
    assert (metadata.classifier, metadata.layers) == ("softmax", ["layer1", "layer2"])
    assert metadata.calibration == "softmax"
    tail = module_of(a_tuned_tail(network, None), network).metadata
    assert (tail.classifier, tail.layers) == ("tail", [""])
