"""The text, the plain values and the CSV of an audit."""

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bottleneck.auditing.audit_result import AuditResult, Examined, LabelCheck
from bottleneck.auditing.duplicates import ImageGroup
from bottleneck.auditing.label_suspects import LabelSuspect
from bottleneck.auditing.near_duplicates import NearPairs
from bottleneck.auditing.outliers import Outlier
from bottleneck.data import SourceSummary
from bottleneck.data.sources.notes import SourceNotes
from bottleneck.fitting.scoring.scores import score_classes, score_labels


@pytest.fixture
def result() -> AuditResult:
    score = score_classes(
        np.array([0, 0, 1, 1]), np.array([0, 0, 1, 0]), ["cat", "dog"], split="test"
    )
    clean = score_classes(np.array([0, 1]), np.array([0, 0]), ["cat", "dog"], split="test")
    images = SourceSummary(30, 0, 2, 0, {"train": 26, "test": 4}, SourceNotes())
    exact = ImageGroup(
        ("a", "b", "e\nf"), ("train", "test", "test"), ("cat",) * 3, ("",) * 3, ("a", "b"), 0.0
    )
    near = ImageGroup(("c", "d"), ("train", "train"), ("cat", "dog"), ("", ""), ("c", "d"), 0.2)
    return AuditResult(
        examined=Examined("photos.cache", images, ("layer3",), 256, without_codes=1),
        duplicates=[exact],
        near=[near],
        near_pairs=NearPairs(np.array([2]), np.array([3]), np.array([0.2]), 0.05, 9.0),
        leaked=["b", "e\nf"],
        shared_groups=3,
        labels=LabelCheck(30, [LabelSuspect("d", "train", "dog", "cat", -0.75)], score, clean),
        outliers=[Outlier("z", "test", "dog", 2.5)],
        seconds=3.0,
    )


def test_it_is_equal_to_itself_alone(result: AuditResult) -> None:
    assert [result, result] == [result, result] != [result, replace(result)]
    assert len({result, replace(result)}) == 2  # which == of arrays would not allow


def test_its_repr_counts_what_was_found(result: AuditResult) -> None:
    counts = "1 duplicates, 1 near duplicates, 2 leaks, 1 label suspects"
    assert repr(result) == f"<AuditResult of photos.cache: {counts}>"


def test_the_text_begins_with_what_was_examined(result: AuditResult) -> None:
    assert str(result) == (
        "examined: 30 images, 2 classes, train 26, test 4; 1 without codes\n"
        "by their codes at layer3 (256 values), in photos.cache\n"
        "\n"
        "same bytes: 3 images in 1 set; 1 across splits, 0 across labels\n"
        "image  shows the same  in all  across  distance\n"
        "a                   b       3  splits      0.00\n"
        "\n"
        "near duplicates: 2 images in 1 set; 0 across splits, 1 across labels\n"
        "found by 1 pair; chance would bring up to 0.05 of the images near another\n"
        "image  shows the same  in all  across  distance\n"
        "c                   d       2  labels      0.20\n"
        "\n"
        "leaks: 2 of 4 images of test are in train too\n"
        "groups: 3 of 4 images of test are of a group that train has too\n"
        "softmax on test: 75.0% of 4 (95 % interval 30.1% to 95.4%); "
        "without the leaks 50.0% of 2 (95 % interval 9.5% to 90.5%)\n"
        "\n"
        "suspect labels: 1 of 30 (3.3%)\n"
        "image  label  rather  margin\n"
        "d        dog     cat   -0.75\n"
        "\n"
        "outliers: 1\n"
        "image  times the usual distance\n"
        "z                          2.50\n"
        "\n"
        "for review: nothing was removed or changed (3 s)"
    )


def test_where_nothing_is_found_it_is_short(result: AuditResult) -> None:
    images = replace(result.examined.images, images=12, splits={"": 12})
    quiet = replace(
        result,
        examined=replace(result.examined, images=images, without_codes=0),
        duplicates=[],
        near=[],
        leaked=[],
        labels=LabelCheck(0, [], None, None, "there are none"),
        outliers=[],
    )
    assert str(quiet).split("\n\n")[1:] == [
        "same bytes: none",
        "near duplicates: not looked for among fewer than 16 images of different bytes",
        "labels: not examined: there are none",
        "outliers: none",
        "for review: nothing was removed or changed (3 s)",
    ]


def test_copies_are_no_images_among_which_near_ones_are_looked_for(result: AuditResult) -> None:
    images = replace(result.examined.images, images=17)  # of 15 pictures: two are copies of "a"
    few = replace(result, examined=replace(result.examined, images=images), near=[])
    assert "near duplicates: not looked for among fewer than 16 images of" in str(few)
    enough = replace(few, examined=replace(few.examined, images=replace(images, images=18)))
    assert "near duplicates: none" in str(enough)


def test_without_leaks_there_is_one_accuracy(result: AuditResult) -> None:
    text = str(replace(result, leaked=[], shared_groups=0))
    assert "leaks: 0 of 4 images of test are in train too\nsoftmax on test: 75.0% of 4" in text
    assert "without the leaks" not in text


def test_pairs_expected_by_chance_are_printed_as_a_whole_number(result: AuditResult) -> None:
    pairs = replace(result.near_pairs, chance=183.5)
    assert "up to 184 of the images" in str(replace(result, near_pairs=pairs))


def test_long_lists_are_cut_and_counted(result: AuditResult) -> None:
    many = replace(result, outliers=[Outlier(f"{i}", "test", "dog", 2.0) for i in range(13)])
    assert str(many).split("\n\n")[-2].splitlines()[-1] == "… and 3 more"
    assert len(many.to_dict()["outliers"]) == 13


def test_the_accuracy_of_several_labels_an_image_is_named(result: AuditResult) -> None:
    true = np.array([[True, False], [True, True], [False, True]])
    values = np.array([[1.0, -2.0], [0.5, -1.0], [-1.0, 1.0]])  # a label of the second is missed
    score = score_labels(true, values, ["cat", "dog"], split="test")
    text = str(replace(result, leaked=[], labels=LabelCheck(0, [], score, None, "several")))
    assert "softmax on test: all labels right for 66.7% of 3 (95 % interval" in text


def test_without_another_image_there_is_no_accuracy_without_leaks(result: AuditResult) -> None:
    nothing = replace(result, labels=replace(result.labels, without_leaks=None))
    assert "; without the leaks no image is left" in str(nothing)
    assert nothing.to_dict()["heldout_without_leaks"] is None


def test_plain_values_can_be_written_as_json(result: AuditResult) -> None:
    found = json.loads(json.dumps(result.to_dict()))
    assert found["leaks"] == 2
    assert found["duplicates"][0]["paths"] == ["a", "b", "e\nf"]
    assert found["near"][0]["labels"] == ["cat", "dog"]
    assert found["suspects"] == [result.suspects[0].to_dict()]
    assert found["outliers"][0]["split"] == "test"
    assert found["heldout"]["accuracy"] == 0.75
    assert found["heldout_without_leaks"]["n"] == 2


def test_the_csv_has_a_row_for_each_image_of_each_finding(
    result: AuditResult, tmp_path: Path
) -> None:
    result.to_csv(str(tmp_path / "audit.csv"))
    with (tmp_path / "audit.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    columns = ("finding", "path", "split", "label")
    assert [tuple(row[name] for name in columns) for row in rows] == [
        ("duplicate", "a", "train", "cat"),
        ("duplicate", "b", "test", "cat"),
        ("duplicate", "e\nf", "test", "cat"),
        ("near", "c", "train", "cat"),
        ("near", "d", "train", "dog"),
        ("leak", "b", "test", "cat"),
        ("leak", "e\nf", "test", "cat"),
        ("suspect", "d", "train", "dog"),
        ("outlier", "z", "test", "dog"),
    ]
    assert rows[7]["suggested"] == "cat"
    assert rows[7]["score"] == "-0.750"
    assert {row["set"] for row in rows[:5]} == {"0"}
