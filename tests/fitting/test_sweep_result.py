import csv
import dataclasses
import io
from itertools import permutations
from pathlib import Path

import numpy as np
import pytest

from bottleneck.data.labels import UnknownLabels
from bottleneck.errors import InvalidOptionError
from bottleneck.fitting.loading.features import Features
from bottleneck.fitting.scoring.scores import score_classes
from bottleneck.fitting.selection.search_result import Candidate
from bottleneck.fitting.sweep_result import SweepResult
from bottleneck.fitting.sweep_row import SweepRow


def a_row(
    layer: str,
    mean: float,
    *,
    error: float = 0.0,
    cost: float | None = 0.5,
    size: int = 8,
    clf: str = "svm",
) -> SweepRow:
    """Two folds around a mean whose standard error is `error`."""
    cv = Candidate("standardize", 1.0, (mean - error, mean + error), 0.0, True)
    assert cv.standard_error == pytest.approx(error)
    return SweepRow(Features((layer,)), clf, size, cost, cv, "accuracy", None, None, True, 0.0, {})


RULES: dict[str, tuple[list[SweepRow], str]] = {
    "the cheapest within one standard error": (
        [
            a_row("poor", 0.5, cost=0.1),
            a_row("good", 0.875, cost=0.5, error=0.2),
            a_row("best", 0.9375, cost=0.9, error=0.125),
        ],
        "good",
    ),
    "the error is the best one's, not its own": (
        [a_row("good", 0.875, cost=0.5, error=0.5), a_row("best", 0.9375, cost=0.9)],
        "best",
    ),
    "exactly one standard error is within": (
        [a_row("good", 0.875, cost=0.5), a_row("best", 0.9375, cost=0.9, error=0.0625)],
        "good",
    ),
    "of equal shares the smaller code": (
        [a_row("wide", 0.9, size=512), a_row("narrow", 0.9, size=64), a_row("x", 0.9, size=128)],
        "narrow",
    ),
    "a smaller share is worth a larger code": (
        [a_row("deep", 0.9, size=8, cost=0.6), a_row("shallow", 0.9, size=900, cost=0.5)],
        "shallow",
    ),
    "of equal costs the higher mean": (
        [a_row("a", 0.875), a_row("b", 0.9375, error=0.125)],
        "b",
    ),
    "of equal means the one that is known better sets the error": (
        [
            a_row("vague", 0.9375, cost=0.9, error=0.5),
            a_row("sure", 0.9375, cost=0.8),
            a_row("poor", 0.5, cost=0.1),
        ],
        "sure",
    ),
    "an unknown share is no small one": (
        [a_row("unknown", 0.9, cost=None, size=1), a_row("known", 0.9, cost=1.0, size=100)],
        "known",
    ),
    "the best may have no share": (
        [a_row("unknown", 0.9, cost=None), a_row("known", 0.5, cost=0.1)],
        "unknown",
    ),
    "without any share the smallest code": (
        [a_row("a", 0.9, cost=None, size=64), a_row("b", 0.9, cost=None, size=32)],
        "b",
    ),
    "a single row": ([a_row("only", 0.1)], "only"),
}


@pytest.mark.parametrize(("rows", "expected"), RULES.values(), ids=RULES)
def test_the_recommendation_by_hand(rows: list[SweepRow], expected: str) -> None:
    for order in permutations(rows):
        assert SweepResult(order).recommended.layer == expected


def test_means_that_differ_by_rounding_are_equal() -> None:
    """Of 150 images both have 113 right; their means differ in the last digit."""
    uneven, even = np.array([29, 15, 22, 25, 22]) / 30, np.array([23, 23, 22, 23, 22]) / 30
    assert np.mean(uneven) > np.mean(even)
    rows = [
        dataclasses.replace(a_row(layer, 0.5), cv=Candidate("l2", 1.0, scores, 0.0, True))
        for layer, scores in (("uneven", (*uneven.tolist(),)), ("even", (*even.tolist(),)))
    ]
    assert SweepResult(rows).best.layer == "even"  # whose standard error decides what is near
    assert SweepResult(rows[::-1]).recommended.layer == "even"  # the first, all else being equal


def test_of_rows_that_are_equal_in_everything_the_first_is_taken() -> None:
    rows = [a_row("a", 0.9, clf="svm"), a_row("a", 0.9, clf="softmax")]
    result = SweepResult(rows)
    assert result.recommended is result.best is rows[0]


# Text, JSON, CSV and plot

HELD_OUT = score_classes(
    np.array([0, 0, 1, 1]), np.array([0, 1, 1, 1]), ["ants", "bees"], split="val"
)


def two() -> SweepResult:
    rows = [a_row("layer2", 0.9, cost=0.25), a_row("layer3", 0.9375, cost=None, error=0.125)]
    rows = [dataclasses.replace(row, heldout=HELD_OUT, record={"c": 1.0}) for row in rows]
    return SweepResult(rows)


def test_the_text_has_every_row_and_the_recommendation() -> None:
    table, sentence = str(two()).split("\n\n")
    assert [line.split() for line in table.splitlines()] == [
        [
            "layer",
            "network",
            "code",
            "clf",
            "CV",
            "accuracy",
            "±",
            "std",
            "val",
            "accuracy",
            "seconds",
        ],
        ["layer2", "25.0%", "8", "svm", "90.0%", "0.0%", "75.0%", "0.0", "*"],
        ["layer3", "-", "8", "svm", "93.8%", "12.5%", "75.0%", "0.0"],
    ]
    assert sentence == (
        "svm on layer2 is the cheapest within one standard error (12.5%) of the best, svm on "
        "layer3: `bottleneck.fit(cache, 'svm', layers='layer2')`"
    )


def test_an_unknown_share_is_stated() -> None:
    rows = [a_row("a", 0.9, cost=None, size=64), a_row("b", 0.9, cost=None, size=32)]
    sentence = SweepResult(rows[:1]).format("fit a").split("\n\n")[1]
    assert sentence == (
        "svm on a is the best, and nothing with smaller codes is within one standard error (0.0%) "
        "of it (the cache does not say how much of the network its layers need): `fit a`"
    )
    assert "svm on b has the smallest codes within" in str(SweepResult(rows))


def test_scalings_have_a_column_where_they_differ() -> None:
    (row,) = SweepResult([a_row("a", 0.9)])
    other = dataclasses.replace(row, cv=dataclasses.replace(row.cv, scaling="l2"))
    assert "preprocess" not in str(SweepResult([row, row]))
    assert "preprocess" in str(SweepResult([row, other]))


def test_a_sweep_is_a_sequence_of_its_rows() -> None:
    result = two()
    assert len(result) == 2
    assert list(result) == [result[0], result[1]]
    assert result[-1].layer == "layer3"
    assert result[:1] == (result[0],)
    assert repr(result) == "<SweepResult of 2 rows, recommended: svm on layer2>"


def test_the_list_and_the_csv_mark_the_recommended_row(tmp_path: Path) -> None:
    assert two().to_list() == [
        {"c": 1.0, "layer": "layer2", "size": 8, "work": 0.25, "recommended": True},
        {"c": 1.0, "layer": "layer3", "size": 8, "work": None, "recommended": False},
    ]
    rows = list(csv.DictReader(io.StringIO(two().to_csv())))
    assert [row["recommended"] for row in rows] == ["True", "False"]
    assert [row["work"] for row in rows] == ["0.25", ""]
    assert [float(row["heldout"]) for row in rows] == [0.75, 0.75]
    assert [(row["preprocess"], row["folds"]) for row in rows] == [("standardize", "2")] * 2
    assert two().to_csv(str(tmp_path / "a.csv")) is None
    assert (tmp_path / "a.csv").read_bytes().decode() == two().to_csv()


def test_notebooks_show_the_text_escaped() -> None:
    html = SweepResult([a_row("<b>", 0.9)])._repr_html_()
    assert html.startswith("<pre>")
    assert "<b>" not in html


def test_a_plot_is_a_figure_or_a_file(tmp_path: Path) -> None:
    assert two().plot(str(tmp_path / "a.svg")) is None
    assert (tmp_path / "a.svg").read_text().startswith("<?xml")
    figure = two().plot()
    assert figure is not None
    assert len(figure.axes) == 1
    with pytest.raises(InvalidOptionError):
        two().plot(tmp_path / "a.jpg")


def test_images_not_scored_are_remarked_last() -> None:
    unknown = UnknownLabels(1, {"moths": 1})
    heldout = dataclasses.replace(HELD_OUT, unknown=unknown)
    rows = [dataclasses.replace(row, heldout=heldout) for row in two()]
    remark = "not in the score: 1 image of a class that was not trained on: 'moths' (1 image)"
    assert str(SweepResult(rows)) == f"{two()}\n{remark}"
    assert SweepResult(rows).format("it").splitlines()[-2:] == [
        two().format("it").splitlines()[-1],
        remark,
    ]
