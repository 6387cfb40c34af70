import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest
from sklearn.metrics import accuracy_score, balanced_accuracy_score, confusion_matrix

from bottleneck.metrics import score, wilson_interval


@given(st.integers(1, 500), st.floats(0, 1))
def test_the_interval_is_wilsons(n: int, share: float) -> None:
    hits = round(share * n)
    reference = binomtest(hits, n).proportion_ci(method="wilson")
    low, high = wilson_interval(hits, n)
    assert low == pytest.approx(reference.low, abs=1e-9)
    assert high == pytest.approx(reference.high)
    assert 0 <= low <= hits / n <= high <= 1


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=60))
def test_scores_are_those_of_scikit_learn(pairs: list[tuple[int, int]]) -> None:
    true, predicted = (np.array(column) for column in zip(*pairs, strict=True))
    found = score(true, predicted, ["a", "b", "c", "d"], split="val")
    assert found.accuracy == pytest.approx(accuracy_score(true, predicted))
    present = np.unique(true)
    recall = [float((predicted[true == k] == k).mean()) for k in present]
    assert found.mean_per_class == pytest.approx(np.mean(recall))
    if set(predicted) <= set(true) and len(present) > 1:  # scikit-learn warns otherwise
        balanced = balanced_accuracy_score(true, predicted)
        assert found.mean_per_class == pytest.approx(balanced)
    reference = confusion_matrix(true, predicted, labels=range(4))
    np.testing.assert_array_equal(found.confusion, reference)
    assert (found.n, found.split) == (len(pairs), "val")


def test_json_has_the_promised_keys() -> None:
    found = score(np.array([0, 1]), np.array([0, 0]), ["a", "b"], split="test").to_json()
    assert (found["split"], found["n"]) == ("test", 2)
    assert (found["accuracy"], found["mean_per_class"]) == (0.5, 0.5)
    assert len(found["ci95"]) == 2
    assert found["confusion"] == [[1, 0], [1, 0]]
