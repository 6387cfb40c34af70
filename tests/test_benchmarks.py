"""The benchmarks of fitting run at toy sizes, and judge by a measure of their own that holds."""

import epochs
import fitting
import gpu
import numpy as np
import pytest
import search
import versus
from codes import made_codes
from sizes import QUICK

from bottleneck.classifiers import CLASSIFIERS, fit_path
from bottleneck.codes import InMemory
from bottleneck.linear import LinearSVM, SoftmaxRegression


def test_generated_codes_are_balanced_standardised_and_repeat() -> None:
    codes, again = made_codes(60, 8, 3, test=30), made_codes(60, 8, 3, test=30)
    assert codes.train.dtype == codes.test.dtype == np.float32
    assert codes.train.shape == (60, 8)
    assert codes.test.shape == (30, 8)
    assert np.bincount(codes.train_classes).tolist() == [20, 20, 20]
    np.testing.assert_allclose(codes.train.mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(codes.train.std(axis=0), 1, rtol=1e-5)
    np.testing.assert_array_equal(codes.test, again.test)


@pytest.mark.parametrize("classes", [2, 4])
@pytest.mark.parametrize("clf", CLASSIFIERS)
def test_the_objective_is_what_the_solver_minimises(clf: str, classes: int) -> None:
    data = made_codes(80, 6, classes, test=1)
    model = {"svm": LinearSVM, "softmax": SoftmaxRegression}[clf](C=0.1)
    model.fit(data.train, data.train_classes)
    (found,) = fit_path(
        InMemory(data.train), data.train_classes, clf=clf, cs=[0.1], classes=classes
    )
    value = versus.objective(model, data.train, data.train_classes, clf=clf)
    assert value == pytest.approx(float(found.objective.sum()), rel=1e-5)


@pytest.mark.parametrize("clf", CLASSIFIERS)
def test_both_rivals_reach_the_same_minimum(clf: str) -> None:
    duel = versus.duel(made_codes(200, 8, 3, test=50), clf, 0.1)
    assert duel.finished == (True, True)
    assert abs(duel.excess) < 1e-3
    assert duel.different <= 0.04
    assert min(duel.seconds) > 0


def test_the_search_gets_more_right_than_chance() -> None:
    data = made_codes(QUICK.n, QUICK.d, QUICK.classes, test=1)
    found = search.whole_search(data.train, data.train_classes, clf="svm", size=QUICK)
    assert found.shape == (len(QUICK.grid),)
    assert found.max() > 1.5 / QUICK.classes


def test_every_part_of_fitting_prints_a_table() -> None:
    text = fitting.markdown(QUICK)
    for title in fitting.PARTS:
        assert f"### {title}" in text
    assert "python benchmarks/fitting.py --quick" in text
    assert text.count("\n|---|") == len(versus.RIVALS) + 3
    assert f"multiplied by {epochs.EPOCHS}" in text


def test_the_gpu_s_part_runs_on_the_cpu_too(capfd: pytest.CaptureFixture[str]) -> None:
    text = gpu.measure(gpu.QUICK, "cpu")
    assert text.count("\n| svm |") == text.count("\n| softmax |") == 2
    assert "4 of 4, " in text
    assert capfd.readouterr().err.count("\n") == 4  # a row as soon as it is known


def test_without_a_gpu_nothing_is_claimed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert gpu.markdown() == "no CUDA device: not measured"
