"""Heads as scikit-learn's pipelines: read by skops with no trusted type, equal to the head."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from bottleneck.backbones.backbone import Backbone
from bottleneck.errors import ExportError, InvalidOptionError
from bottleneck.exporting import sklearn_pipeline
from bottleneck.exporting.export import export
from bottleneck.fitting.heads.head import Head
from bottleneck.linear.calibration import Calibration
from bottleneck.linear.scaling import SCALINGS
from tests.helpers.exports import PLATT, TEMPERATURE, a_head, a_tuned_tail, plain_network

TWO = Calibration(np.full(2, 0.7), np.zeros(2), independent=False)
LOGISTIC = Calibration(np.ones(3), np.zeros(3), independent=True)


@pytest.fixture(scope="module")
def network() -> Backbone:
    return plain_network()


def loaded(head: Head, folder: Path) -> Any:
    """The pipeline as a program reads it that does not know this package."""
    import skops.io  # takes seconds, which each process would spend that collects this file

    path = folder / "head.skops"
    assert export(head, path).path == path
    assert skops.io.get_untrusted_types(file=path) == []
    return skops.io.load(path, trusted=[])


def codes_for(head: Head, n: int = 40) -> NDArray[np.float64]:
    return np.abs(np.random.default_rng(3).normal(size=(n, head.coef.shape[1])))


@pytest.mark.parametrize("layers", [["layer2"], ["layer3", "layer1"]], ids=len)
@pytest.mark.parametrize("scaling", SCALINGS)
def test_probabilities_and_labels_are_the_heads(
    network: Backbone, scaling: str, layers: list[str], tmp_path: Path
) -> None:
    head = a_head(network, layers, scaling=scaling)
    codes = codes_for(head)
    codes[0] = 0
    values = head.decision_function(codes)
    pipeline = loaded(head, tmp_path)
    np.testing.assert_allclose(
        pipeline.predict_proba(codes), head.predict_scores(values), atol=1e-6
    )
    assert pipeline.predict(codes).tolist() == head.predict_labels(values)
    assert pipeline.classes_.tolist() == head.classes
    assert pipeline.n_features_in_ == codes.shape[1]


@pytest.mark.parametrize("calibration", [TWO, None], ids=["temperature", "-"])
def test_two_classes(network: Backbone, calibration: Calibration | None, tmp_path: Path) -> None:
    head = a_head(network, classes=["a", "b"], calibration=calibration)
    head = dataclasses.replace(
        head,
        coef=np.stack([-head.coef[1], head.coef[1]]),
        intercept=head.intercept[1] * np.array([-1, 1]),
    )
    codes = codes_for(head)
    values = head.decision_function(codes)
    pipeline = loaded(head, tmp_path)
    assert pipeline.predict(codes).tolist() == head.predict_labels(values)
    if calibration is None:
        np.testing.assert_allclose(pipeline.decision_function(codes), values[:, 1], atol=1e-6)
    else:
        np.testing.assert_allclose(
            pipeline.predict_proba(codes), head.predict_scores(values), atol=1e-6
        )


@pytest.mark.parametrize("calibration", [LOGISTIC, PLATT, None], ids=["logistic", "platt", "-"])
def test_several_labels(network: Backbone, calibration: Calibration | None, tmp_path: Path) -> None:
    head = a_head(network, multilabel=True, calibration=calibration)
    codes = codes_for(head)
    values = head.decision_function(codes)
    pipeline = loaded(head, tmp_path)
    np.testing.assert_array_equal(pipeline.predict(codes), values > 0)
    assert pipeline[-1].classes_.tolist() == head.classes
    if calibration is LOGISTIC:
        np.testing.assert_allclose(
            pipeline.predict_proba(codes), head.predict_scores(values), atol=1e-6
        )
    else:
        assert not hasattr(pipeline, "predict_proba")
        np.testing.assert_allclose(pipeline.decision_function(codes), values, atol=1e-6)


def test_one_label_of_several(network: Backbone, tmp_path: Path) -> None:
    one = Calibration(np.ones(1), np.zeros(1), independent=True)
    head = a_head(network, classes=["rare"], multilabel=True, calibration=one)
    codes = codes_for(head)
    pipeline = loaded(head, tmp_path)
    values = head.decision_function(codes)
    np.testing.assert_allclose(
        pipeline.predict_proba(codes)[:, 1:], head.predict_scores(values), atol=1e-6
    )


def test_a_calibration_that_is_left_out_is_said(network: Backbone, tmp_path: Path) -> None:
    result = export(a_head(network, multilabel=True, calibration=PLATT), tmp_path / "h.skops")
    assert (result.scores, result.metadata) == ("margins", None)
    assert "without the calibration" in str(result)
    assert export(a_head(network), tmp_path / "i.skops").notes == ()


def test_a_pipeline_that_differs_is_not_written(
    network: Backbone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = sklearn_pipeline.head_pipeline

    def wrong(head: Head) -> Any:
        pipeline = made(head)
        pipeline[-1].intercept_[0] += 1e-5
        return pipeline

    monkeypatch.setattr(sklearn_pipeline, "head_pipeline", wrong)
    with pytest.raises(ExportError, match="gives other scores than the head"):
        export(a_head(network), tmp_path / "head.skops")
    assert not list(tmp_path.iterdir())


def test_heads_that_scikit_learn_cannot_express_are_refused(
    network: Backbone, tmp_path: Path
) -> None:
    out = tmp_path / "head.skops"
    with pytest.raises(ExportError, match="a tuned tail is layers of a network"):
        export(a_tuned_tail(network, "layer1"), out)
    with pytest.raises(ExportError, match="no signed square root"):
        export(a_head(network, scaling="sqrt", relu=False), out)
    head = a_head(network, calibration=TEMPERATURE, views=2)
    networks_alone: list[dict[str, Any]] = [
        *({"views": 2}, {"check": "photos"}, {"input_type": "float"}),
        *({"model": "resnet18"}, {"weights": "x"}),
    ]
    for options in networks_alone:
        with pytest.raises(InvalidOptionError, match="left out: a file for scikit-learn"):
            export(head, out, **options)
    assert not list(tmp_path.iterdir())
