import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from sklearn.preprocessing import LabelEncoder, MultiLabelBinarizer

from bottleneck.data.images import open_images
from bottleneck.data.labels import (
    SEPARATOR,
    UnknownLabels,
    class_names,
    encode_targets,
    is_multilabel,
    known_rows,
)
from bottleneck.data.table.image_table import ImageTable
from bottleneck.errors import LabelsError
from tests.helpers.image_tables import every, names_of, one_line, table

# One name a label


def test_class_names_are_sorted_and_each_once() -> None:
    assert names_of("dog", "cat", "dog", " dog") == [" dog", "cat", "dog"]  # as they stand


def test_only_the_rows_count() -> None:
    images = table("dog", "cat", "emu|dog", "dog")
    rows = np.array([0, 1, 3])
    assert class_names(images, rows, split="") == ["cat", "dog"]
    assert not is_multilabel(images, rows)
    assert is_multilabel(images, every(images))


@pytest.mark.parametrize(
    ("labels", "split", "message"),
    [
        ((), "", "at least 2 classes, found no labelled image: put each class's images"),
        (("cat", "cat"), "", "at least 2 classes, found 'cat' (2 images): put"),
        (("cat",), "train", "at least 2 classes in split 'train', found 'cat' (1 image): put"),
    ],
)
def test_fewer_than_two_classes_are_refused(
    labels: tuple[str, ...], split: str, message: str
) -> None:
    images = table(*labels)
    with pytest.raises(LabelsError, match=re.escape(message)) as caught:
        class_names(images, every(images), split=split)
    assert one_line(caught)


@given(st.lists(st.text("abé|日", min_size=1), min_size=1))
def test_single_targets_are_what_scikit_learn_encodes(labels: list[str]) -> None:
    images = table(*labels)
    encoder = LabelEncoder().fit(labels)
    targets = encode_targets(images, every(images), list(encoder.classes_), multilabel=False)
    assert targets.dtype == np.int64
    np.testing.assert_array_equal(targets, encoder.transform(labels))


@pytest.mark.parametrize("multilabel", [False, True])
def test_targets_of_no_rows_have_a_shape(multilabel: bool) -> None:
    images = table("cat", "dog")
    rows = np.array([], dtype=np.int64)
    found = encode_targets(images, rows, ["cat", "dog"], multilabel=multilabel)
    assert found.shape == ((0, 2) if multilabel else (0,))
    assert found.dtype == (np.bool_ if multilabel else np.int64)


# Several names a label


def test_a_separator_in_any_label_makes_every_label_a_list_of_names() -> None:
    images = table("dog", " cat | dog", "cat\t", "emu|emu")
    assert is_multilabel(images, every(images))
    assert class_names(images, every(images), split="") == ["cat", "dog", "emu"]
    targets = encode_targets(images, every(images), ["cat", "dog", "emu"], multilabel=True)
    assert targets.dtype == np.bool_
    assert targets.tolist() == [
        [False, True, False],
        [True, True, False],
        [True, False, False],
        [False, False, True],
    ]


def test_a_head_for_several_names_takes_labels_of_one() -> None:
    images = table("dog", "cat ")
    targets = encode_targets(images, every(images), ["cat", "dog", "emu"], multilabel=True)
    assert targets.tolist() == [[False, True, False], [True, False, False]]


def test_targets_follow_the_order_of_rows_and_names() -> None:
    images = table("a|b", "b", "c")
    targets = encode_targets(images, np.array([2, 0]), ["c", "b", "a"], multilabel=True)
    assert targets.tolist() == [[True, False, False], [False, True, True]]


@pytest.mark.parametrize("above", [".", "train"])
def test_the_name_of_a_folder_is_one_name(tmp_path: Path, above: str) -> None:
    for folder in ("cat|dog", "dog"):
        (tmp_path / above / folder).mkdir(parents=True)
        (tmp_path / above / folder / "1.jpg").write_bytes(b"x")
    open_images(tmp_path).table.write_csv(tmp_path / "images.csv")
    for images in (open_images(tmp_path).table, ImageTable.read_csv(tmp_path / "images.csv")):
        assert not is_multilabel(images, every(images))
        assert class_names(images, every(images), split="") == ["cat|dog", "dog"]
        targets = encode_targets(images, every(images), ["cat|dog", "dog"], multilabel=False)
        assert targets.tolist() == [0, 1]


@pytest.mark.parametrize(
    ("label", "path"),
    [
        ("cat|dog", "cat|dog.jpg"),
        ("cat|dog", "cat/dog/1.jpg"),
        ("cat | dog", "cat|dog/1.jpg"),
        ("dog|cat", "cat|dog/1.jpg"),
        ("dog|cat", "a/b|c/dog|cat"),
    ],
)
def test_a_label_that_is_no_folder_of_its_image_may_be_several_names(label: str, path: str) -> None:
    images = table("dog", "cat|dog", label, path=["1.jpg", "cat|dog/2.jpg", path])
    assert not is_multilabel(images, np.array([0, 1]))
    assert is_multilabel(images, every(images))
    assert class_names(images, every(images), split="") == ["cat", "dog"]


NAMES = st.one_of(
    st.sampled_from(["cat", "dog", "emu"]),
    st.text(min_size=1, max_size=4),
    st.binary(min_size=1, max_size=4).map(lambda name: name.decode("utf-8", "surrogateescape")),
).filter(lambda name: SEPARATOR not in name and name == name.strip())

BLANKS = st.sampled_from(["", " ", "\t", "  "])


@settings(deadline=None)
@given(st.data(), st.lists(st.sets(NAMES, min_size=1, max_size=4), min_size=1, max_size=6))
def test_names_survive_the_way_into_labels_and_back(
    data: st.DataObject, images_names: list[set[str]]
) -> None:
    labels = []
    for names in images_names:
        repeated = data.draw(st.permutations(sorted(names))) + data.draw(
            st.lists(st.sampled_from(sorted(names)), max_size=2)
        )
        parts = [data.draw(BLANKS) + name + data.draw(BLANKS) for name in repeated]
        labels.append(SEPARATOR.join(parts))
    images = table(*labels)
    assume(is_multilabel(images, every(images)))
    binarizer = MultiLabelBinarizer().fit(images_names)
    if all(names == images_names[0] for names in images_names):
        with pytest.raises(LabelsError, match="have the same labels"):
            class_names(images, every(images), split="")
        return
    found = class_names(images, every(images), split="")
    assert found == list(binarizer.classes_)
    targets = encode_targets(images, every(images), found, multilabel=True)
    assert targets.dtype == np.bool_
    np.testing.assert_array_equal(targets, binarizer.transform(images_names))


@pytest.mark.parametrize("label", ["cat||dog", "cat|", "|cat", "|", "cat| |dog", " |cat", "\t|"])
def test_an_empty_name_is_refused_with_its_image(label: str) -> None:
    images = table("dog", label)
    said = re.escape(f"image '1.jpg' has the label {label!r}, where a name is empty: write 'cat'")
    with pytest.raises(LabelsError, match=said) as caught:
        class_names(images, every(images), split="")
    assert one_line(caught)
    with pytest.raises(LabelsError, match=said):
        encode_targets(images, every(images), ["cat", "dog"], multilabel=True)


@pytest.mark.parametrize("label", ["", " "])
def test_a_blank_label_among_several_names_is_an_empty_name(label: str) -> None:
    images = table("cat|dog", label)
    with pytest.raises(LabelsError, match=f"image '1.jpg' has the label {label!r}"):
        class_names(images, every(images), split="")


def test_a_name_that_every_image_has_is_kept() -> None:
    assert names_of("animal|cat", "animal|dog") == ["animal", "cat", "dog"]
    assert names_of("animal|cat", "animal") == ["animal", "cat"]


@pytest.mark.parametrize(
    ("labels", "split", "message"),
    [
        (("cat|dog", "dog|cat"), "", "all 2 images have the same labels 'cat|dog': a classifier"),
        (("cat|dog",), "train", "all 1 images in split 'train' have the same labels 'cat|dog'"),
        (("cat", "cat|cat"), "", "all 2 images have the same labels 'cat'"),
    ],
)
def test_names_that_tell_no_images_apart_are_refused(
    labels: tuple[str, ...], split: str, message: str
) -> None:
    images = table(*labels)
    with pytest.raises(LabelsError, match=re.escape(message)) as caught:
        class_names(images, every(images), split=split)
    assert one_line(caught)


@pytest.mark.parametrize(
    ("labels", "multilabel", "message"),
    [
        (["cat", "dgo", "emu", "dgo"], False, "3 images have .*, for example 'dgo' (2 images)"),
        (["cat|dog", "cat", "dog"], False, "1 image has .*, for example 'cat|dog' (1 image)"),
        (["cat|dgo", "dog|emu|dgo", "cat"], True, "2 images have .*, for example 'dgo' (2 images)"),
    ],
)
def test_names_unknown_to_the_head_are_counted(
    labels: list[str], multilabel: bool, message: str
) -> None:
    images = table(*labels)
    said = re.escape(message).replace(r"\.\*", ".*") + "; it knows cat, dog$"
    with pytest.raises(LabelsError, match=said) as caught:
        encode_targets(images, every(images), ["cat", "dog"], multilabel=multilabel)
    assert one_line(caught)


def test_none_beside_several_names_is_an_image_that_has_none_of_them() -> None:
    images = table("cat|dog", "none", "cat")
    assert class_names(images, every(images), split="") == ["cat", "dog"]
    targets = encode_targets(images, every(images), ["cat", "dog"], multilabel=True)
    assert targets.tolist() == [[True, True], [False, False], [True, False]]
    earlier = encode_targets(images, every(images), ["cat", "dog", "none"], multilabel=True)
    assert earlier[:, 2].tolist() == [False, True, False]  # of a head that took it for a name


# Labels of images that a classifier is judged on


def judged(
    *labels: str, names: Sequence[str] = ("cat", "dog"), multilabel: bool = False, split: str = ""
) -> tuple[list[int], UnknownLabels]:
    images = table(*labels)
    rows, unknown = known_rows(images, every(images), names, multilabel=multilabel, split=split)
    return rows.tolist(), unknown


@pytest.mark.parametrize("multilabel", [False, True])
def test_known_labels_are_all_judged(multilabel: bool) -> None:
    assert judged("dog", "cat", "dog", multilabel=multilabel) == ([0, 1, 2], UnknownLabels())
    assert judged(multilabel=multilabel) == ([], UnknownLabels())


def test_images_of_other_classes_are_left_out_and_counted_by_class() -> None:
    rows, unknown = judged("emu", "cat", "yak", "dog", "yak", "cat|dog")
    assert rows == [1, 3]
    assert (unknown.images, unknown.similar) == (4, {})
    assert list(unknown.counts.items()) == [("yak", 2), ("emu", 1), ("cat|dog", 1)]
    assert str(unknown) == (
        "4 images of 3 classes that were not trained on: 'yak' (2 images), 'emu' (1 image), "
        "'cat|dog' (1 image)"
    )


def test_an_image_of_several_labels_is_left_out_if_one_is_unknown() -> None:
    rows, unknown = judged("cat|dog", "cat | emu", "none", "yak|emu", multilabel=True)
    assert rows == [0, 2]
    assert (unknown.images, unknown.counts) == (2, {"emu": 2, "yak": 1})


@settings(deadline=None)
@given(st.lists(st.lists(st.sampled_from("abcd"), min_size=1), min_size=1), st.booleans())
def test_images_are_judged_or_unknown(labels: list[list[str]], multilabel: bool) -> None:
    texts = [SEPARATOR.join(label) if multilabel else label[0] for label in labels]
    known = [i for i, text in enumerate(texts) if set(text.split(SEPARATOR)) <= {"a", "b"}]
    if not known:
        with pytest.raises(LabelsError, match=f"{len(texts)} image.*; the classifier knows a, b$"):
            judged(*texts, names="ab", multilabel=multilabel)
        return
    rows, unknown = judged(*texts, names="ab", multilabel=multilabel)
    assert rows == known
    assert len(rows) + unknown.images == len(texts)
    for name in "cd":
        expected = sum(name in text.split(SEPARATOR) for text in texts)
        assert unknown.counts.get(name, 0) == expected


@pytest.mark.parametrize(
    ("label", "known"),
    [
        ("Cat", "cat"),
        (" cat", "cat"),
        ("sea lion", "Sea  Lion"),
        ("sealion", "sea lion"),
        ("STRASSE", "straße"),
        ("cafe\u0301", "caf\u00e9"),  # as macOS and as everybody else writes it
    ],
)
def test_another_spelling_of_a_known_class_is_a_hint(label: str, known: str) -> None:
    rows, unknown = judged("dog", label, names=["dog", known])
    assert (rows, unknown.similar) == ([0], {label: known})
    hint = f"; {label!r} is {known!r} but for case, blanks or Unicode form: give both one name"
    assert str(unknown).endswith(hint)
    with pytest.raises(LabelsError, match=re.escape(hint)) as caught:
        judged(label, names=["dog", known])
    assert one_line(caught)


def test_another_class_is_no_other_spelling() -> None:
    assert judged("cats", "cat", "c-at", "cat\0")[1].similar == {}


def test_where_nothing_can_be_judged_the_split_and_both_sides_are_named() -> None:
    said = (
        "no labelled image in split 'te\\nst' can be judged: 3 images of 2 classes that were not "
        "trained on: 'emu' (2 images), 'y\\nak' (1 image); the classifier knows cat, dog"
    )
    with pytest.raises(LabelsError, match=f"^{re.escape(said)}$") as caught:
        judged("emu", "y\nak", "emu", split="te\nst")
    assert one_line(caught)


def test_of_many_classes_some_are_named() -> None:
    unknown = judged("cat", *(f"bird {i}" for i in range(9)))[1]
    assert str(unknown).endswith("'bird 4' (1 image) and 4 more")
    assert len(unknown.to_dict()["classes"]) == 9
