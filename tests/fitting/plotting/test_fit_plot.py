"""The plot of a fit shows its search and its confusion matrix, as they were found."""

import dataclasses
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from numpy.typing import NDArray
from sklearn.metrics import confusion_matrix

from bottleneck.errors import InvalidOptionError
from bottleneck.fitting.fit import fit
from bottleneck.fitting.fit_result import FitResult
from bottleneck.fitting.scoring.scores import score_classes, score_labels
from bottleneck.fitting.selection.options import SearchOptions


@pytest.fixture(scope="module")
def result(template: Path) -> FitResult:
    search = SearchOptions(c=[0.01, 0.1, 1.0], cv=3, scaling="auto")
    return fit(template / "cache", "svm", layers="layer2", search=search)


def panels(result: FitResult) -> list[Axes]:
    figure = result.plot()
    figure.draw_without_rendering()
    found: list[Axes] = figure.axes
    return found


def points(line: Line2D) -> NDArray[np.float64]:
    return np.asarray(line.get_xydata(), dtype=float)


def test_a_line_for_each_scaling_is_what_the_folds_gave(result: FitResult) -> None:
    axes = panels(result)[0]
    assert result.search is not None
    lines = {bars.get_label(): bars.lines[0] for bars in axes.containers}  # type: ignore[attr-defined, unused-ignore]
    scalings = {one.scaling for one in result.search.candidates}
    assert set(lines) == {f"svm, {scaling}, cross-validation" for scaling in scalings}
    assert len(scalings) > 1
    for scaling in scalings:
        own = {
            one.c: float(np.mean(one.scores))
            for one in result.search.candidates
            if one.scaling == scaling
        }
        line = lines[f"svm, {scaling}, cross-validation"]
        assert points(line).tolist() == [[c, own[c]] for c in sorted(own)]


def test_the_ring_is_what_was_selected_and_the_open_marker_the_held_out_score(
    result: FitResult,
) -> None:
    lines = {line.get_label(): points(line) for line in panels(result)[0].get_lines()}
    assert result.search is not None and result.heldout is not None
    assert lines["selected"].tolist() == [[result.c, result.search.best.mean]]
    assert lines["held-out val"].tolist() == [[result.c, result.heldout.accuracy]]


def test_the_cells_are_the_confusion_matrix(result: FitResult) -> None:
    rng = np.random.default_rng(0)
    true, predicted = rng.integers(0, 3, 60), rng.integers(0, 3, 60)
    score = score_classes(true, predicted, ["ants", "bees", "$x_1$"], split="test")
    axes = panels(dataclasses.replace(result, heldout=score))[1]
    expected = confusion_matrix(true, predicted)
    (image,) = axes.get_images()
    shares = np.asarray(image.get_array(), dtype=float)
    np.testing.assert_allclose(shares, expected / expected.sum(axis=1, keepdims=True))
    cells = {tuple(map(int, text.get_position())): int(text.get_text()) for text in axes.texts}
    assert cells == {(p, t): n for (t, p), n in np.ndenumerate(expected) if n}
    assert [text.get_text() for text in axes.get_yticklabels()] == ["ants", "bees", "$x_1$"]
    assert not any(text.get_parse_math() for text in axes.get_yticklabels())


@pytest.mark.parametrize(
    ("name", "drawn"), [("b\udce9", "b\\udce9"), ("be\x1bes", "be\\x1bes"), ("b\nes", "b\\nes")]
)
def test_characters_of_a_class_that_cannot_be_drawn_are_escaped(
    result: FitResult, tmp_path: Path, name: str, drawn: str
) -> None:
    score = score_classes(np.arange(2), np.arange(2), ["ants", name], split="test")
    dataclasses.replace(result, heldout=score).plot(tmp_path / "fit.svg")
    picture = (tmp_path / "fit.svg").read_text("utf-8")
    assert drawn in picture
    ElementTree.fromstring(picture)  # a control character would not be XML


def test_many_classes_have_no_names_and_no_numbers(result: FitResult) -> None:
    true = np.arange(40)
    score = score_classes(true, true, [f"c{i}" for i in true], split="test")
    axes = panels(dataclasses.replace(result, heldout=score))[1]
    assert not axes.texts
    assert not axes.get_yticklabels()


def test_missing_panels_are_left_out(result: FitResult) -> None:
    several = score_labels(np.eye(3, dtype=bool), np.eye(3), ["a", "b", "c"], split="val")
    assert result.search is not None
    search = dataclasses.replace(result.search, metric="mean_average_precision")
    assert len(panels(dataclasses.replace(result, search=search, heldout=several))) == 1
    assert len(panels(dataclasses.replace(result, heldout=None))) == 1
    (axes,) = panels(dataclasses.replace(result, search=None))
    assert axes.get_images()
    with pytest.raises(InvalidOptionError, match="`plot='this fit'`: must be one with folds"):
        dataclasses.replace(result, search=None, heldout=None).plot()


def test_the_plot_is_written_as_a_png(result: FitResult, tmp_path: Path) -> None:
    assert result.plot(tmp_path / "fit.png") is None
    assert (tmp_path / "fit.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
