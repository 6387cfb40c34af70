import pytest

from bottleneck.data.split_names import canonical_split, is_split_flag, parse_split, translations


@pytest.mark.parametrize(
    ("split", "names"),
    [
        ("train", "train Train TRAIN training Training trainset train_images TrainImages"),
        ("train", "images-train train2017 training_set train1 trainSet train.data"),
        ("val", "val Valid validation VALIDATION validate dev Development val2017 dev-set"),
        ("test", "test Testing eval Evaluation test_images test1 TestSet Test_Data"),
    ],
)
def test_usual_names_say_the_split_and_nothing_else(split: str, names: str) -> None:
    for name in names.split():
        for spelled in (name, f" {name}", f"{name} \t"):
            found = parse_split(spelled)
            assert found is not None, spelled
            assert (found.split, found.plain) == (split, True), spelled


def test_the_other_words_of_a_split_name_are_its_affix() -> None:
    names = ["seg_train", "seg_test", "train-seg", "asl alphabet train", "PublicTest"]
    found = [parse_split(name) for name in names]
    assert [(one.split, one.affix) for one in found if one] == [
        ("train", ("seg", "")),
        ("test", ("seg", "")),
        ("train", ("", "seg")),
        ("train", ("asl", "alphabet", "")),
        ("test", ("public", "")),
    ]


@pytest.mark.parametrize(
    "name",
    [
        *("ants", "trainer", "trains", "latest", "contest", "valley", "device", "evaluate_me"),
        *("train_val", "test-train", "trainval", "train test", "not_train", "non-test"),
        *("holdout", "0", "1", "2017", "images", "", " "),
    ],
)
def test_other_names_say_no_split(name: str) -> None:
    assert parse_split(name) is None
    assert canonical_split(f" {name} ") == name.strip()


def test_flags_are_names_of_nothing_but_splits() -> None:
    flags = ["is_test", "isTrain", "test", "in_train", "is_training_img", "Validation Set"]
    assert [is_split_flag(name) for name in flags] == [True] * len(flags)
    others = ["test_score", "trainer", "is_red", "in", "", "id", "split", "image"]
    assert [is_split_flag(name) for name in others] == [False] * len(others)


def test_only_translated_names_are_remarked() -> None:
    assert translations([("train", "train"), ("", ""), ("holdout", "holdout")]) == ()
    (text,) = translations([("train", "train"), ("valid", "val"), ("Test ", "test")])
    assert text == "splits by their usual names: 'valid' is val, 'Test ' is test"
