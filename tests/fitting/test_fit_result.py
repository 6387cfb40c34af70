import dataclasses
from typing import Any

import numpy as np
import pytest

from bottleneck.data.labels import UnknownLabels
from bottleneck.fitting.loading.features import Features
from bottleneck.fitting.selection.search_result import SearchResult
from bottleneck.linear.solver.path import Solution
from tests.helpers.fit_results import HELD_OUT, a_fit, candidate


def stopped(gap: float) -> Solution:
    solution = a_fit().solution
    return dataclasses.replace(solution, gap=np.array([gap]), converged=np.array([False]))


def test_the_text_has_the_search_the_choice_and_the_score() -> None:
    search, rest = str(a_fit()).split("\n\n")
    assert search == str(a_fit().search)
    assert rest.splitlines() == [
        "svm on layer3: 123 images of 2 classes, codes of size 3, l2, C = 0.1",
        "cross-validation  accuracy 60.0% ± 10.0% in 2 folds, calibration error 3.4%",
        *str(HELD_OUT).splitlines(),
    ]


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"heldout": None}, "no held-out split: the cross-validation is all that can be said"),
        ({"ece": None}, "cross-validation  accuracy 60.0% ± 10.0% in 2 folds"),
        (
            {"solution": stopped(0.02)},
            "the solver stopped within 2.0e-02 of its minimum: a smaller C converges sooner",
        ),
        (
            {"solution": stopped(np.nan)},
            "the solver stopped short of its minimum: a smaller C converges sooner",
        ),
        (
            {
                "search": SearchResult(
                    candidate(1.0, 0.9, 0.9),
                    [candidate(0.1, 0.4, 0.5), candidate(1.0, 0.9, 0.9)],
                    2,
                    "macro_f1",
                )
            },
            "the best C is at the edge of the grid: a better one may lie beyond it",
        ),
    ],
)
def test_missing_parts_and_warnings_have_a_line(changes: dict[str, Any], line: str) -> None:
    assert line in str(a_fit(**changes)).splitlines()
    assert line not in str(a_fit()).splitlines()


@pytest.mark.parametrize(
    "changes",
    [
        lambda head: {"spec": dataclasses.replace(head.spec, pool="none")},
        lambda head: {"features": Features(("layer3@none",))},
    ],
)
def test_codes_that_are_maps_have_a_line(changes: Any) -> None:
    head = a_fit().head
    maps = dataclasses.replace(head, **changes(head))
    more = set(str(a_fit(head=maps)).splitlines()) - set(str(a_fit()).splitlines())
    assert [line.partition(":")[0] for line in more] == [
        "the codes are maps, a value for each position"
    ]


def test_without_a_search_the_text_has_none() -> None:
    lines = str(a_fit(search=None, ece=None)).splitlines()
    assert lines[0].startswith("svm on layer3: 123 images")
    assert lines[1].startswith("held-out val")


def test_the_score_is_the_held_out_accuracy_or_else_the_mean_of_the_folds() -> None:
    assert a_fit().score == 0.75
    assert a_fit(heldout=None).score == pytest.approx(0.6)
    assert a_fit(heldout=None, search=None).score is None


def test_the_training_record_is_the_result_without_a_confusion_matrix() -> None:
    # That of 6000 classes is more than safetensors allows in the metadata of a file.
    result = a_fit(shares={"confusion": 1.0}).with_seconds(2.5)
    assert result.seconds == 2.5
    whole = result.to_dict()
    assert whole["heldout"].pop("confusion") == [[1, 1], [0, 2]]
    assert result.head.training_record == whole
    assert result.head.training_record["shares"] == {"confusion": 1.0}


def test_notebooks_show_the_text_escaped() -> None:
    html = a_fit()._repr_html_()
    assert html.startswith("<pre>")
    assert "true \\ predicted" in html
    scaled = dataclasses.replace(a_fit().head, features=Features(("<b>",)))
    assert "<b>" not in a_fit(head=scaled)._repr_html_()


def test_images_not_scored_are_remarked_after_the_path_of_the_head() -> None:
    unknown = UnknownLabels(2, {"moths": 2})
    result = a_fit(heldout=dataclasses.replace(HELD_OUT, unknown=unknown))
    remark = "not in the score: 2 images of a class that was not trained on: 'moths' (2 images)"
    assert result.remarks == [remark]
    assert str(result) == f"{a_fit()}\n{remark}"
    assert result.format("saved it") == f"{a_fit()}\nsaved it\n{remark}"
    assert a_fit(heldout=None).format("saved it") == f"{a_fit(heldout=None)}\nsaved it"
    assert result.to_dict()["heldout"]["unknown"]["classes"] == {"moths": 2}


def test_without_a_search_and_a_held_out_split_nothing_was_measured() -> None:
    *_, last = str(a_fit(search=None, ece=None, heldout=None)).splitlines()
    assert last == "no held-out split, and no cross-validation: nothing was measured"
