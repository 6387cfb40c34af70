"""Plots: what is drawn is what was found, whole and readable."""

import dataclasses
import pickle
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bottleneck.data.resizing.view_recipe import ViewRecipe
from bottleneck.fitting.loading.features import Features
from bottleneck.fitting.plotting.sweep_plot import _spread
from bottleneck.fitting.scoring.scores import score_classes
from bottleneck.fitting.selection.search_result import Candidate
from bottleneck.fitting.sweep_result import SweepResult
from bottleneck.fitting.sweep_row import SweepRow

CLFS = ("svm", "softmax")


def a_row(
    layer: str, clf: str, mean: float, *, error: float = 0.02, cost: float | None
) -> SweepRow:
    """Judged on a hundred rows of two classes, a little better than in the folds."""
    cv = Candidate("standardize", 1.0, (mean - error, mean + error), 0.0, True)
    true = np.repeat([0, 1], 50)
    answers = np.where(np.arange(100) < round(100 * (mean + 0.03)), true, 1 - true)
    heldout = score_classes(true, answers, ["ants", "bees"], split="val")
    return SweepRow(Features((layer,)), clf, 8, cost, cv, "accuracy", heldout, 0.5, True, 1.0, {})


def rows_of(costs: dict[str, float | None]) -> list[SweepRow]:
    """Better and better layers, softmax a little worse than svm."""
    return [
        a_row(layer, clf, 0.6 + 0.3 * turn / len(costs) - 0.01 * (clf == "softmax"), cost=cost)
        for turn, (layer, cost) in enumerate(costs.items())
        for clf in CLFS
    ]


THREE: dict[str, float | None] = {"conv1": 0.1, "conv2": 0.4, "fc": 1.0}


def plotted(rows: Sequence[SweepRow]) -> tuple[Figure, Axes]:
    figure = SweepResult(rows).plot()
    (axes,) = figure.axes
    return figure, axes


def drawn(rows: Sequence[SweepRow]) -> tuple[Figure, Axes]:
    figure, axes = plotted(rows)
    figure.draw_without_rendering()  # but with everything in its place
    return figure, axes


def format_rows(axes: Axes, label: str) -> Any:
    found = [line for line in axes.get_lines() if line.get_label() == label]
    found += [bars.lines[0] for bars in axes.containers if bars.get_label() == label]  # type: ignore[attr-defined, unused-ignore]
    (line,) = found
    return line


def texts(axes: Axes) -> list[str]:
    return [text.get_text() for text in axes.texts]


# What is drawn


@pytest.mark.parametrize("clf", CLFS)
def test_a_line_for_each_classifier_is_what_was_found(clf: str) -> None:
    rows = rows_of(THREE)
    own = [row for row in rows if row.clf == clf]
    _, axes = plotted(rows)
    folds = format_rows(axes, f"{clf}, cross-validation")
    heldout = format_rows(axes, f"{clf}, held-out val")
    for line, values in (
        (folds, np.array([row.cv.mean for row in own])),
        (heldout, np.array([row.heldout_metric for row in own])),
    ):
        np.testing.assert_allclose(line.get_xdata().astype(float), [0.1, 0.4, 1.0])
        np.testing.assert_allclose(line.get_ydata().astype(float), values)
    assert folds.get_color() == heldout.get_color()
    assert heldout.get_markerfacecolor() == "white"


def test_a_pooling_has_a_broken_line_of_its_own_beside_that_of_the_others() -> None:
    layers = {"conv1": 0.1, "conv1@2x2": 0.1, "conv2": 0.4, "conv2@2x2": 0.4, "fc": 1.0}
    rows = rows_of({**layers})
    _, axes = drawn(rows)
    for label, own in (
        ("svm, cross-validation", [0, 2, 4]),
        ("svm, 2x2", [1, 3]),
        ("softmax, 2x2", [1, 3]),
    ):
        line, clf = format_rows(axes, label), label.partition(",")[0]
        expected = [row for row in rows if row.clf == clf]
        x, y = line.get_xdata().astype(float), line.get_ydata().astype(float)
        np.testing.assert_allclose(x, [expected[i].cost or 0 for i in own])
        np.testing.assert_allclose(y, [expected[i].cv.mean for i in own])
        assert line.get_linestyle() == ("--" if "2x2" in label else "-")
    places = {
        format_rows(axes, label).get_transform().transform((0.1, 0.7))[0]
        for label in ("svm, cross-validation", "svm, 2x2", "softmax, cross-validation")
    }
    assert len(places) == 3  # of the same layer, beside each other


def all_layers(row: SweepRow, views: int = 1) -> SweepRow:
    features = Features(tuple(THREE), views, ViewRecipe() if views > 1 else None)
    return dataclasses.replace(row, features=features, cost=float(views))


def test_rows_of_all_layers_are_behind_the_deepest_without_a_line() -> None:
    rows = rows_of(THREE)
    together = [all_layers(row, views) for views in (1, 5) for row in rows[-2:]]
    _, axes = plotted([*rows, *together])
    label = "svm, cross-validation"
    alone, behind = [bars.lines[0] for bars in axes.containers if bars.get_label() == label]  # type: ignore[attr-defined, unused-ignore]
    np.testing.assert_allclose(alone.get_xdata().astype(float), [0.1, 0.4, 1.0])
    assert alone.get_linestyle() == "-"
    assert (behind.get_xdata().astype(float) > 1).all()
    np.testing.assert_allclose(behind.get_ydata().astype(float), [rows[-2].cv.mean] * 2)
    assert behind.get_linestyle() == "None"
    assert axes.get_xlim()[1] > behind.get_xdata().max()
    assert texts(axes)[-2:] == ["all layers", "all layers, 5 views"]


def test_layers_in_several_views_each_stand_at_their_share() -> None:
    rows = [
        dataclasses.replace(
            row, features=Features(row.layers, 5, ViewRecipe()), cost=5 * (row.cost or 0)
        )
        for row in rows_of(THREE)
    ]
    _, axes = plotted([*rows, all_layers(rows[-1], 5)])
    line = format_rows(axes, "svm, cross-validation")
    np.testing.assert_allclose(line.get_xdata().astype(float), [0.1, 0.4, 1.0])
    assert line.get_linestyle() == "-"


def test_bars_are_standard_errors() -> None:
    rows = [row for row in rows_of(THREE) if row.clf == "svm"]
    _, axes = plotted(rows)
    (bars,) = axes.containers
    (segments,) = (bar.get_segments() for bar in bars.lines[2])  # type: ignore[attr-defined, unused-ignore]
    for segment, row in zip(segments, rows, strict=True):
        error = row.cv.standard_error
        expected = [row.cv.mean - error, row.cv.mean + error]
        np.testing.assert_allclose(segment[:, 1], expected)


def test_the_recommended_row_has_the_ring_and_the_bold_name() -> None:
    rows = rows_of(THREE)
    rows[2] = a_row("conv2", "svm", SweepResult(rows).best.cv.mean - 0.001, cost=0.4)
    chosen = SweepResult(rows).recommended
    assert (chosen.layer, chosen.clf) == ("conv2", "svm")
    _, axes = plotted(rows)
    ring = format_rows(axes, "recommended")
    assert (ring.get_xdata()[0], ring.get_ydata()[0]) == (0.4, chosen.cv.mean)
    bold = [text.get_text() for text in axes.texts if text.get_fontweight() == "bold"]
    assert bold == ["conv2"]


def test_the_band_is_one_standard_error_below_the_best() -> None:
    rows = rows_of(THREE)
    best = SweepResult(rows).best
    _, axes = plotted(rows)
    (band,) = axes.patches
    low, high = band.get_path().get_extents(band.get_patch_transform()).intervaly
    assert (low, high) == pytest.approx((best.cv.mean - best.cv.standard_error, best.cv.mean))


def test_chance_is_a_faint_line() -> None:
    _, axes = plotted(rows_of(THREE))
    (line,) = [line for line in axes.get_lines() if np.array_equal(line.get_ydata(), [0.5, 0.5])]
    assert line.get_linewidth() < 1
    assert "chance 50.0%" in texts(axes)


def test_chance_far_below_takes_no_room_from_the_rows() -> None:
    rows = [dataclasses.replace(row, majority_baseline=0.01) for row in rows_of(THREE)]
    _, axes = plotted(rows)
    assert "chance 1.0% ↓" in texts(axes)
    assert axes.get_ylim()[0] > 0.5


def test_several_labels_have_no_chance() -> None:
    _, axes = plotted([dataclasses.replace(row, majority_baseline=None) for row in rows_of(THREE)])
    assert not [text for text in texts(axes) if "chance" in text]


def test_without_a_held_out_split_there_are_no_open_markers() -> None:
    figure, _ = plotted([dataclasses.replace(row, heldout=None) for row in rows_of(THREE)])
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == [
        "svm, cross-validation",
        "softmax, cross-validation",
        "recommended",
        "within a standard error of the best",
    ]


@pytest.mark.parametrize("costs", [{"b": None, "a": None}, {"b": 0.2, "a": None}])
def test_where_a_share_is_unknown_layers_stand_in_a_row(costs: dict[str, float | None]) -> None:
    _, axes = plotted(rows_of(costs))
    line = format_rows(axes, "svm, cross-validation")
    assert list(line.get_xdata()) == [0, 1]
    assert line.get_linestyle() == "None"  # nothing leads from one to the other
    assert "not known" in axes.get_xlabel()
    assert list(axes.get_xticks()) == []


def test_a_single_row_can_be_drawn() -> None:
    drawn(rows_of({"fc": 1.0})[:1])
    drawn(
        [
            dataclasses.replace(row, heldout=None, majority_baseline=None)
            for row in rows_of({"fc": None})
        ]
    )


# Whether it can be read


@pytest.mark.parametrize("n", [1, 15, 30])
@pytest.mark.parametrize("crowded", [False, True])
def test_names_and_legend_stand_inside_and_apart(n: int, crowded: bool) -> None:
    costs = [0.99] * n if crowded else np.linspace(0.02, 1, n).tolist()
    rows = rows_of({f"layer{i}.conv": cost for i, cost in enumerate(costs)})
    figure, axes = drawn(rows)
    width, height = figure.bbox.width, figure.bbox.height
    names = [text for text in axes.texts if text.get_rotation() == 45]
    assert [text.get_text() for text in names] == [f"layer{i}.conv" for i in range(n)]
    for thing in (*names, *figure.legends, axes.xaxis.label, axes.yaxis.label):
        box = thing.get_window_extent()
        assert box.x0 >= -1
        assert box.y0 >= -1
        assert box.x1 <= width + 1
        assert box.y1 <= height + 1
    feet = [axes.transAxes.transform(text.get_position())[0] for text in names]
    letters = 8 * figure.dpi / 72  # pixels of a line of 8 points, √2 as wide where it is slanted
    assert (np.diff(feet) >= 1.3 * letters).all()
    assert axes.get_window_extent().height > 0.4 * height


def test_a_long_name_keeps_its_end_and_no_name_is_a_formula() -> None:
    long = "features.denseblock4.denselayer16.conv2"
    figure, axes = plotted(rows_of({"$x_1$": 0.5, long: 1.0}))
    assert texts(axes)[-2:] == ["$x_1$", f"…{long[-21:]}"]
    assert not any(text.get_parse_math() for text in axes.texts[-2:])
    assert figure.get_size_inches().tolist() == [6.5, 4.0]


def test_more_names_than_fit_leave_the_one_that_matters() -> None:
    rows = rows_of({f"layer{i}": i / 60 for i in range(1, 61)})
    _, axes = drawn(rows)
    assert [text for text in texts(axes) if "layer" in text] == [
        SweepResult(rows).recommended.layer
    ]


@given(st.lists(st.floats(0, 1), min_size=1, max_size=20).map(sorted), st.floats(0.001, 0.05))
def test_names_are_a_gap_apart_inside_the_axes_and_in_order(
    wanted: list[float], gap: float
) -> None:
    spread = np.array(_spread(wanted, gap))
    assert spread[0] >= -1e-9
    assert spread[-1] <= 1 + 1e-9
    assert (np.diff(spread) >= gap - 1e-9).all()


def test_names_that_are_apart_already_stay_where_they_are() -> None:
    assert _spread([0.1, 0.2, 0.9], 0.05) == [0.1, 0.2, 0.9]


# The file


def write(path: Path) -> Path:
    rows = rows_of(THREE)
    SweepResult(rows).plot(path)
    return path


def test_the_suffix_decides_the_format(tmp_path: Path) -> None:
    data = write(tmp_path / "a" / "b.PNG").read_bytes()
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    assert (int.from_bytes(data[16:20]), int.from_bytes(data[20:24])) == (1300, 800)
    assert write(tmp_path / "b.pdf").read_bytes().startswith(b"%PDF-")
    svg = ElementTree.parse(write(tmp_path / "b.svg")).getroot()
    assert svg.tag == "{http://www.w3.org/2000/svg}svg"
    assert re.findall(r"<!-- (conv1|conv2|fc) -->", (tmp_path / "b.svg").read_text()) == list(THREE)


def test_matplotlib_is_imported_to_draw_only_and_pyplot_never(tmp_path: Path) -> None:
    program = f"""
import pickle, sys
import bottleneck.fitting.plotting.sweep_plot
rows = pickle.load(sys.stdin.buffer)
print(*sys.modules)
rows.plot({str(tmp_path / "b.png")!r})
print(*sys.modules)
"""
    rows = pickle.dumps(SweepResult(rows_of(THREE)))
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, input=rows, capture_output=True, timeout=120, check=True)
    imported, drawn = (set(line.split()) for line in done.stdout.decode().splitlines())
    assert "bottleneck.fitting.plotting.sweep_plot" in imported
    assert "matplotlib" not in imported
    assert "matplotlib.figure" in drawn
    assert "matplotlib.pyplot" not in drawn
