"""What counts as the same prediction."""

import dataclasses
from pathlib import Path

import pytest

from bottleneck.errors import ExportError
from bottleneck.exporting.check import TOLERANCE, largest_difference, require_agreement
from bottleneck.fitting.heads.head import Head
from bottleneck.prediction.prediction import Prediction
from tests.helpers.exports import PLATT, a_head, plain_network


@pytest.fixture(scope="module")
def head() -> Head:
    return a_head(plain_network())


def said(label: str, *scores: float, path: str = "a.jpg") -> Prediction:
    named = dict(zip(("ants", "bees", "wasps"), scores, strict=True))
    return Prediction(Path(path), label, named, "")


def test_the_largest_difference_of_all_images_and_classes() -> None:
    a = [said("ants", 0.5, 0.3, 0.2), said("bees", 0.1, 0.8, 0.1)]
    b = [said("ants", 0.5, 0.3, 0.2), said("bees", 0.1, 0.7, 0.2)]
    assert largest_difference(a, b) == pytest.approx(0.1)


def test_scores_within_the_tolerance_agree(head: Head) -> None:
    near = said("ants", 0.5 + 0.9 * TOLERANCE, 0.3, 0.2)
    found = require_agreement(head, [said("ants", 0.5, 0.3, 0.2)], [near], runtime="x")
    assert found == pytest.approx((1, 0.9 * TOLERANCE))
    far = said("ants", 0.5 + 1.1 * TOLERANCE, 0.3, 0.2)
    with pytest.raises(ExportError, match=r"x gives other probabilities .* up to 0.00011 on 1"):
        require_agreement(head, [said("ants", 0.5, 0.3, 0.2)], [far], runtime="x")


def test_margins_are_judged_by_their_size(head: Head) -> None:
    margins = dataclasses.replace(head, calibration=None)
    pair = [said("ants", 50.0, -20.0, 3.0)], [said("ants", 50.004, -20.0, 3.0)]
    assert require_agreement(margins, *pair, runtime="x") == pytest.approx((1, 0.004))
    with pytest.raises(ExportError, match=r"other probabilities"):
        require_agreement(head, *pair, runtime="x")
    far = [said("ants", 50.006, -20.0, 3.0)]
    with pytest.raises(ExportError, match=r"other margins .* allowed 0.005"):
        require_agreement(margins, pair[0], far, runtime="x")


def test_labels_may_differ_where_two_classes_are_equal(head: Head) -> None:
    tie = said("ants", 0.4, 0.4, 0.2)
    require_agreement(head, [tie], [said("bees", 0.4, 0.4, 0.2)], runtime="x")
    clear = said("ants", 0.5, 0.3, 0.2)
    with pytest.raises(ExportError, match=r"x calls a.jpg 'bees', and `bottleneck.predict` 'ants'"):
        require_agreement(head, [clear], [said("bees", 0.5, 0.3, 0.2)], runtime="x")


def test_of_several_labels_each_may_differ_at_the_boundary_of_its_margin(head: Head) -> None:
    several = dataclasses.replace(head, calibration=PLATT, multilabel=True)
    # Where Platt's lines cross a margin of 0: the logistic function of -1, 0.5 and 0.2.
    at = (0.26894, 0.62246, 0.54983)
    ours, theirs = said("ants", *at), said("bees|wasps", *at)
    require_agreement(several, [ours], [theirs], runtime="x")
    clear = said("ants", 0.9, 0.1, 0.1)
    with pytest.raises(ExportError, match=r"x calls a.jpg ''"):
        require_agreement(several, [clear], [said("", 0.9, 0.1, 0.1)], runtime="x")


def test_images_that_cannot_be_decoded_are_no_part_of_it(head: Head) -> None:
    bad = Prediction(Path("b.jpg"), "", {}, "the file is empty")
    good = said("ants", 0.5, 0.3, 0.2)
    assert require_agreement(head, [bad, good], [bad, good], runtime="x") == (1, 0.0)
    with pytest.raises(ExportError, match=r"can be decoded: b.jpg: the file is empty"):
        require_agreement(head, [bad], [bad], runtime="x")
