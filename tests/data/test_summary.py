import json
from pathlib import Path

import numpy as np
import pytest

from bottleneck.data.images import open_images
from bottleneck.data.sources.notes import SourceNotes
from bottleneck.data.summary import SourceSummary, summarize_images
from bottleneck.data.table.image_table import ImageTable
from tests.helpers.image_folders import touch, write_csv
from tests.helpers.image_tables import table


def line_of(images: ImageTable) -> str:
    return str(SourceSummary.from_table(images))


def test_one_line_has_images_classes_and_splits_in_their_order() -> None:
    images = table(*"aabca", split=["test", "train", "train", "val", "train"])
    assert line_of(images) == "5 images, 3 classes, train 3, val 1, test 1"
    assert line_of(table("a", "a")) == "2 images, 1 class"
    assert line_of(table("")) == "1 image, no labels"


def test_images_without_a_label_a_split_or_a_file_are_counted() -> None:
    images = table("a", "", "b", "c", split=["train", "", "extra", "train"], size=[1, 1, 1, -1])
    assert line_of(images) == (
        "3 images, 2 classes, 1 without a label, train 1, split 'extra' 1, "
        "in no split 1, 1 that does not exist"
    )


def test_several_names_in_a_label_are_several_classes() -> None:
    assert line_of(table("cat|dog", "dog", " cow |cat")) == "3 images, 3 classes"
    assert line_of(table("cat|dog", "dog", path=["cat|dog/1.jpg", "dog/2.jpg"])) == (
        "2 images, 2 classes"
    )


def test_splits_of_other_names_are_said_to_be_none(tmp_path: Path) -> None:
    csv = write_csv(tmp_path, "path,partition\n1.jpg,0\n2.jpg,1\n")
    assert str(summarize_images(csv)).splitlines() == [
        "0 images, no labels, 2 that do not exist",
        "columns by their usual names: 'partition' is split",
    ]
    touch(tmp_path, "1.jpg", "2.jpg")
    first, *remarks = str(summarize_images(csv)).splitlines()
    assert first == "2 images, no labels, split '0' 1, split '1' 1"
    assert remarks[-1] == "no split is called train, val or test"


def test_many_splits_are_not_all_named() -> None:
    names = [f"s{i:02}" for i in range(30)]
    first, _ = line_of(table(*names, split=names)).splitlines()
    assert first.endswith("split 's04' 1, split 's05' 1, … (30 splits)")


def test_a_name_that_would_break_the_line_is_escaped(tmp_path: Path) -> None:
    touch(tmp_path, "ants/1.jpg", "a\nb/1.cr2")
    assert "a\\nb (1 file)" in summarize_images(tmp_path).remarks()[0]


def test_plain_values_are_json(tmp_path: Path) -> None:
    touch(tmp_path, "Train/ants/1.jpg", "Train/bees/2.cr2", "Test/ants/3.jpg")
    found = json.loads(json.dumps(summarize_images(tmp_path).to_dict()))
    assert found == {
        "images": 2,
        "missing": 0,
        "classes": 1,
        "unlabelled": 0,
        "splits": {"train": 1, "test": 1},
        "passed_over": {".cr2": 1},
        "without_images": {"Train/bees": 1},
        "remarks": [
            "splits by their usual names: 'Test' is test, 'Train' is train",
            "class folders without an image: Train/bees (1 file)",
        ],
    }


def test_any_source_is_summarized_with_notes_or_without(tmp_path: Path) -> None:
    class Plain:
        """A source of one's own, which has a table and no notes."""

        table = table("a", "b")

    assert str(summarize_images(Plain())) == "2 images, 2 classes"  # type: ignore[arg-type]
    source = open_images(touch(tmp_path, "1.jpg", "2.cr2"))
    fewer = source.with_table(source.table.take(np.array([0])))
    assert summarize_images(fewer).notes == SourceNotes({".cr2": 1}, 1)
    assert summarize_images(fewer).counts == ("1 image; 1 file of a kind that is not read: 1 .cr2")


def test_classes_that_may_be_one_and_labels_that_mean_none_are_said(tmp_path: Path) -> None:
    touch(tmp_path, "Cat/1.jpg", "cat /2.jpg", "caf\u00e9/3.jpg", "cafe\u0301/4.jpg", "nan/5.jpg")
    assert summarize_images(tmp_path).remarks() == [
        "classes that differ in case, blanks or Unicode form alone: 'Cat' and 'cat ', "
        "'cafe\u0301' and 'caf\u00e9'",
        "'nan' is the name of a class: where there is no label, leave it empty",
    ]


@pytest.mark.parametrize("name", ["NA", "None", "#N/A", "null"])
def test_a_name_that_programs_write_for_a_missing_label_is_said(name: str) -> None:
    (remark,) = SourceSummary.from_table(table("ants", name)).remarks()
    assert remark.startswith(f"{name!r} is the name of a class")
    (remark,) = SourceSummary.from_table(table("nan", name)).remarks()
    assert remark.startswith(f"'nan', {name!r} are names of classes")


def test_none_beside_several_labels_is_not_taken_for_a_missing_label() -> None:
    several = SourceSummary.from_table(table("ants|red", "none"))
    assert (several.classes, several.remarks()) == (2, [])
    assert SourceSummary.from_table(table("ants", "none")).remarks() != []


@pytest.mark.parametrize(
    ("labels", "combined"),
    [
        (["ants,red", "ants,small", "bees,red", "bees,small"], "ants|red"),
        (["ants;red", "ants", "bees;red", "bees; ants"], "ants|red"),
        (["['ants', 'red']", "['bees']"], "ants|red"),
        (["dog, husky", "dog, beagle", "cat"], ""),  # names with a comma, as ImageNet's
        (["a,b", "a", "b"], "a|b"),
        (["a", "b, c"], ""),
        (["ants|red", "ants|a,b", "bees|a,b"], ""),  # several labels already
    ],
)
def test_several_labels_that_are_written_another_way_are_said(
    labels: list[str], combined: str
) -> None:
    remarks = SourceSummary.from_table(table(*labels)).remarks()
    assert [remark.endswith(f"are written {combined}") for remark in remarks] == [True] * bool(
        combined
    )


def test_splits_without_train_are_said(tmp_path: Path) -> None:
    touch(tmp_path, "Test/a/1.jpg", "trainval/a/2.jpg", "val/a/3.jpg")
    assert "no split is called train, the one that classifiers are trained on" in (
        summarize_images(tmp_path).remarks()
    )
