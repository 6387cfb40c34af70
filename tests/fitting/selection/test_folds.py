import dataclasses
import re
import subprocess
import sys
import tracemalloc
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.model_selection import GroupKFold, KFold, StratifiedGroupKFold, StratifiedKFold

from bottleneck.errors import InvalidOptionError, LabelsError
from bottleneck.fitting.selection.folds import (
    Fold,
    _smallest_class,
    group_codes,
    make_folds,
    require_foldable,
    stratified_groups,
)
from bottleneck.linear.matrix import ArrayMatrix
from bottleneck.linear.training import TrainingSet
from tests.helpers.counting import Compared
from tests.helpers.datasets import integer_groups


def rows(targets: NDArray[Any], k: int, groups: Sequence[str] | None = None) -> TrainingSet:
    """Only targets and groups make folds: the codes say where a row stood."""
    place = np.arange(len(targets), dtype=np.float32)[:, None]
    return TrainingSet(ArrayMatrix(place), targets, k, integer_groups(groups))


@st.composite
def lessons(draw: st.DrawFn, *, grouped: bool | None = None) -> TrainingSet:
    """Two rows of a class or more; maybe several labels, or none; maybe groups, some unnamed."""
    k = draw(st.integers(2, 4))
    n = draw(st.integers(2 * k, 30))
    extra = draw(st.lists(st.integers(0, k - 1), min_size=n - 2 * k, max_size=n - 2 * k))
    targets = np.array(draw(st.permutations([*range(k), *range(k), *extra])))
    if draw(st.booleans()):
        several = draw(st.lists(st.integers(0, 2**k - 1), min_size=n - 2, max_size=n - 2))
        targets = (np.array([*several, 1, 1])[:, None] >> np.arange(k)) % 2 == 1
    if not (draw(st.booleans()) if grouped is None else grouped):
        return rows(targets, k)
    names = st.sampled_from(["", *(f"slide{i}" for i in range(draw(st.integers(1, 12))))])
    return rows(targets, k, draw(st.lists(names, min_size=n, max_size=n)))


def sides(splits: Sequence[Fold]) -> list[tuple[set[int], set[int]]]:
    return [(set(here.tolist()), set(validation.tolist())) for here, validation in splits]


def folds_or_none(training: TrainingSet, folds: int) -> list[Fold]:
    """No folds where a class has too few groups for any."""
    try:
        return make_folds(training, folds)
    except LabelsError:
        assert training.groups is not None
        return []


@settings(deadline=None)
@given(lessons(), st.integers(2, 8))
def test_every_row_is_a_validation_row_of_one_fold(training: TrainingSet, folds: int) -> None:
    splits = folds_or_none(training, folds)
    n = len(training.targets)
    assert len(splits) <= folds
    for here, validation in splits:
        assert sorted([*here, *validation]) == list(range(n))
        assert len(here)
        assert len(validation)
        assert (np.diff(here) > 0).all()  # codes are read in order
        assert (np.diff(validation) > 0).all()
    if splits:
        assert sorted(np.concatenate([validation for _, validation in splits])) == list(range(n))


@settings(deadline=None)
@given(lessons(grouped=True), st.integers(2, 8))
def test_no_group_is_in_training_and_validation_rows(training: TrainingSet, folds: int) -> None:
    if training.groups is None:  # no row has the name of a group
        return
    for here, validation in folds_or_none(training, folds):
        learnt = set(training.groups[here].tolist())
        assert not learnt & set(training.groups[validation].tolist())


@settings(deadline=None)
@given(lessons(), st.integers(2, 8))
def test_every_class_is_learnt_in_every_fold(training: TrainingSet, folds: int) -> None:
    if not training.multilabel:
        for here, _ in folds_or_none(training, folds):
            assert set(training.targets[here].tolist()) == set(range(training.classes))


@settings(deadline=None)
@given(lessons(), st.integers(2, 8))
def test_the_same_rows_have_the_same_folds(training: TrainingSet, folds: int) -> None:
    once, again = folds_or_none(training, folds), folds_or_none(training, folds)
    assert sides(once) == sides(again)


@pytest.mark.parametrize("seed", range(20))
def test_folds_do_not_depend_on_the_names_of_classes(seed: int) -> None:
    random = np.random.default_rng(seed)
    targets = np.append(np.repeat(np.arange(4), 5), random.integers(4, size=41))
    groups = [f"slide{i}" if i < 12 else "" for i in random.integers(24, size=len(targets))]
    first, second = (make_folds(rows(y, 4, groups), 5) for y in (targets, 3 - targets))
    assert sides(first) == sides(second)


def test_classes_have_their_share_in_every_fold() -> None:
    targets = np.array([0] * 20 + [1] * 10 + [2] * 5)
    for _, validation in make_folds(rows(targets, 3), 5):
        assert np.bincount(targets[validation]).tolist() == [4, 2, 1]


@settings(deadline=None)
@given(lessons(), st.integers(2, 8))
def test_without_groups_and_for_several_labels_they_are_scikit_learns(
    training: TrainingSet, folds: int
) -> None:
    targets, groups = training.targets, training.groups
    strata = targets.any(axis=1) if training.multilabel else targets
    random = training.multilabel and bool(strata.all())
    if groups is not None and not random:
        return
    found = folds_or_none(training, folds)
    splitters = {(True, True): KFold, (True, False): GroupKFold, (False, True): StratifiedKFold}
    expected = splitters[random, groups is None](max(len(found), 2), shuffle=True, random_state=0)
    with warnings.catch_warnings(action="ignore"):  # of few images without any label
        splits = list(expected.split(targets, strata, groups))
    for (here, validation), (other_here, other) in zip(found, splits, strict=bool(found)):
        np.testing.assert_array_equal(here, other_here)
        np.testing.assert_array_equal(validation, other)


@pytest.mark.parametrize("groups", [None, [f"slide{row // 3}" for row in range(90)]])
def test_where_most_images_have_no_label_each_fold_has_some_that_have_one(
    groups: list[str] | None,
) -> None:
    targets = np.zeros((90, 3), dtype=bool)
    targets[::9, 1] = targets[::18, 2] = True
    splits = make_folds(rows(targets, 3, groups), 5)
    assert [int(targets[held].any(axis=1).sum()) for _, held in splits] == [2] * 5


@pytest.mark.parametrize("several", [False, True])
def test_rows_without_a_name_are_groups_of_their_own(several: bool) -> None:
    targets = np.arange(60) % 3
    groups = ["slide"] * 6 + [""] * 54
    training = rows(np.eye(3)[targets] == 1 if several else targets, 3, groups)
    sizes = [len(validation) for _, validation in make_folds(training, 5)]
    assert max(sizes) <= 20  # as one group, the nameless would be a fold of 54


def test_groups_are_balanced_by_class() -> None:
    targets = np.repeat([0, 1], 30)
    groups = [f"slide{row // 3}" for row in range(60)]
    for _, validation in make_folds(rows(targets, 2, groups), 5):
        assert np.bincount(targets[validation]).tolist() == [6, 6]


def test_single_images_fill_up_what_groups_leave_uneven() -> None:
    targets = np.arange(300) % 3
    groups = [f"slide{row % 7}" if row < 90 else "" for row in range(300)]
    for _, held_back in make_folds(rows(targets, 3, groups), 5):
        assert np.bincount(targets[held_back]).tolist() == [20, 20, 20]


def test_groups_are_balanced_at_least_as_well_as_by_scikit_learn() -> None:
    """As measured by what StratifiedGroupKFold minimises, over random groups."""
    ours, theirs = [], []
    for seed in range(40):
        random = np.random.default_rng(seed)
        targets = random.integers(0, 4, 120)
        groups = random.integers(0, 30, 120)
        splitter = StratifiedGroupKFold(5, shuffle=True, random_state=0)
        expected = np.empty(120, dtype=np.int64)
        for i, (_, held_back) in enumerate(splitter.split(targets, targets, groups)):
            expected[held_back] = i
        ours.append(unevenness(targets, stratified_groups(targets, groups, 4, 5)))
        theirs.append(unevenness(targets, expected))
    assert np.mean(ours) <= np.mean(theirs)


def unevenness(targets: NDArray[np.int64], fold: NDArray[np.int64]) -> float:
    counts = np.zeros((5, 4))
    np.add.at(counts, (fold, targets), 1)
    return float(np.std(counts / counts.sum(axis=0), axis=0).mean())


def test_no_table_of_groups_and_classes_is_made() -> None:
    """A table of groups and classes would have 25 million numbers here."""
    targets = np.arange(10_000) % 2_500
    groups = np.arange(10_000)
    groups[1] = 0
    tracemalloc.start()
    try:
        fold = stratified_groups(targets, groups, 2_500, 4)
        assert tracemalloc.get_traced_memory()[1] < 12 << 20
    finally:
        tracemalloc.stop()
    assert fold[0] == fold[1]
    assert len(set((targets * 4 + fold).tolist())) >= 9_998  # an image of each class in each fold


@pytest.mark.parametrize("several", [False, True])
def test_folds_do_not_follow_the_order_of_the_rows(several: bool) -> None:
    targets = np.repeat([0, 1], 50)
    training = rows(np.eye(2)[targets] == 1 if several else targets, 2)
    for _, validation in make_folds(training, 5):
        assert (np.diff(validation) > 1).sum() > 5  # five neighbours' rows would be two runs


# Too few


def test_a_small_class_makes_fewer_folds() -> None:
    targets = np.array([0] * 27 + [1] * 3)
    assert len(make_folds(rows(targets, 2), 5)) == 3


def test_a_class_of_few_groups_makes_fewer_folds() -> None:
    targets = np.array([0] * 27 + [1] * 12)
    groups = [""] * 27 + ["x"] * 4 + ["y"] * 4 + [""] * 4  # class 1 has two and four of its own
    assert len(make_folds(rows(targets, 2, groups), 9)) == 6


def test_several_labels_make_as_many_folds_as_there_are_groups() -> None:
    targets = np.random.default_rng(0).random((12, 3)) < 0.5
    assert len(make_folds(rows(targets, 3), 20)) == np.count_nonzero(targets.any(axis=1)) == 10
    targets[:, 0] |= ~targets.any(axis=1)
    assert len(make_folds(rows(targets, 3), 20)) == 12
    assert len(make_folds(rows(targets, 3, ["a", "b", "c"] * 4), 20)) == 3


@pytest.mark.parametrize(
    ("labels", "groups", "message"),
    [
        ([0, 0, 0, 1], None, "1 of 2 classes have a single training image: cross-validation"),
        ([0, 1, 2], None, "3 of 3 classes have a single training image: cross-validation"),
        ([0, 0, 1, 1], ["a", "b", "c", "c"], "1 of 2 classes have a single training group: cross"),
        ([0, 0, 1, 1], ["a", "a", "c", "c"], "2 of 2 classes have a single training group: cross"),
    ],
)
def test_a_single_image_or_group_is_refused_with_a_way_out(
    labels: list[int], groups: list[str] | None, message: str
) -> None:
    with pytest.raises(LabelsError, match=f"^{message}.*`c` and.*`cv=0`$"):
        make_folds(rows(np.array(labels), max(labels) + 1, groups), 5)


@pytest.mark.parametrize(("n", "groups", "unit"), [(4, ["a"] * 4, "group"), (1, None, "image")])
def test_of_several_labels_a_single_group_is_refused_as_such(
    n: int, groups: list[str] | None, unit: str
) -> None:
    targets = np.arange(n)[:, None] != np.arange(3)
    message = rf"^there is a single training {unit}: cross-validation needs 2: add.*`cv=0`$"
    with pytest.raises(LabelsError, match=message):
        require_foldable(rows(targets, 3, groups), ["ant", "bee", "cat"])


def test_classes_of_a_single_image_or_group_are_named_with_what_can_be_done() -> None:
    training = rows(np.array([0, 0, 1, 2, 2, 3]), 4)
    said = (
        "2 of 4 classes have a single training image ('r\\nare', 'yak'): cross-validation needs 2 "
        "in each: add images, leave the class out with a CSV of `labels`, or train without "
        "cross-validation: `bottleneck.fit` with one value of `c` and `cv=0`"
    )
    with pytest.raises(LabelsError, match=f"^{re.escape(said)}$"):
        require_foldable(training, ["ant", "r\nare", "bee", "yak"])
    grouped = rows(np.array([0, 0, 1, 1]), 2, ["a", "b", "c", "c"])
    with pytest.raises(LabelsError, match=r"1 of 2 .* a single training group \('bee'\):"):
        require_foldable(grouped, ["ant", "bee"])
    require_foldable(rows(np.array([0, 0, 1, 1]), 2), ["ant", "bee"])


def test_of_many_classes_of_a_single_image_some_are_named() -> None:
    with pytest.raises(LabelsError, match=r"\('0', '1', '2', '3', '4' and 4 more\): cross"):
        require_foldable(rows(np.arange(9), 9), list("012345678"))


def test_several_labels_in_a_single_group_are_refused() -> None:
    targets = np.array([[True, False], [False, True], [True, True]])
    with pytest.raises(LabelsError, match="single training group"):
        make_folds(rows(targets, 2, ["slide"] * 3), 5)


def test_groups_that_leave_a_fold_without_a_class_are_refused() -> None:
    # Whichever two groups share a fold, the third has not all classes.
    targets = np.array([0, 2, 2, 0, 1, 1])
    groups = ["a", "b", "c", "c", "a", "b"]
    with pytest.raises(LabelsError, match="groups of a class are all in one fold: give `cv=0` "):
        make_folds(rows(targets, 3, groups), 2)


@pytest.mark.parametrize("folds", [1, -3])
def test_fewer_than_two_folds_are_refused(folds: int) -> None:
    with pytest.raises(InvalidOptionError, match=f"^`cv={folds}`: .*at least 2"):
        make_folds(rows(np.arange(20) % 2, 2), folds)


# Groups as integers


def test_rows_without_a_group_name_are_groups_of_their_own_as_integers() -> None:
    codes = np.array([2, 0, 1, 0, 2], dtype=np.int8)
    groups = group_codes(codes, ["", "b", "a"])
    assert groups is not None
    assert len(set(groups.tolist())) == 4  # "a" twice, "b", and two rows without a name
    assert groups.tolist() == [0, 1, 2, 3, 0]  # in the order of their first rows
    assert group_codes(np.array([0, 0]), [""]) is None


@given(st.lists(st.integers(0, 4), min_size=1, max_size=30), st.permutations(range(5)))
def test_neither_the_names_of_groups_nor_their_codes_decide_anything(
    codes: list[int], other: list[int]
) -> None:
    one = group_codes(np.array(codes), ["x", "y", "z", "", "a"])
    names = [["b", "q", "p", "", "c"][other.index(code)] for code in range(5)]
    again = group_codes(np.array([other[code] for code in codes]), names)
    assert (one is None) == (again is None) == (set(codes) == {3})
    if one is not None and again is not None:
        assert one.tolist() == again.tolist()


@pytest.mark.parametrize("grouped", [False, True])
def test_counting_the_rows_of_classes_does_not_look_at_all_rows_for_each_class(
    grouped: bool,
) -> None:
    targets = np.repeat(np.arange(300), 2)
    groups = [str(i) for i in range(600)] if grouped else None
    training = rows(targets, 300, groups)
    watched = dataclasses.replace(training, targets=targets.view(Compared))
    Compared.count = 0
    assert _smallest_class(watched) == 2
    assert Compared.count < 20 * 600  # comparing all rows for each of 300 classes: 300 · 600


def test_importing_folds_loads_no_scikit_learn() -> None:
    code = "import sys, bottleneck.fitting.fit, bottleneck.fitting.sweep\n"
    code += "sys.exit(bool({'sklearn', 'torch', 'matplotlib', 'scipy'} & {*sys.modules}))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
