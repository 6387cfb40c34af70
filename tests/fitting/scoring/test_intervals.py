import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import binomtest, bootstrap
from scipy.stats import t as student

from bottleneck.fitting.scoring.intervals import accuracy_interval, effective_size, wilson_interval


@given(st.integers(1, 500), st.floats(0, 1))
def test_the_interval_is_wilsons(n: int, share: float) -> None:
    hits = round(share * n)
    reference = binomtest(hits, n).proportion_ci(method="wilson")
    low, high = wilson_interval(hits / n, n)
    assert low == pytest.approx(reference.low, abs=1e-9)
    assert high == pytest.approx(reference.high)
    assert 0 <= low <= hits / n <= high <= 1


def test_groups_of_one_image_are_images_alone() -> None:
    correct = np.random.default_rng(0).random(50) < 0.8
    found = accuracy_interval(correct, np.random.default_rng(1).permutation(50) * 7)
    reference = binomtest(int(correct.sum()), 50).proportion_ci(method="wilson")
    assert found == pytest.approx((reference.low, reference.high))


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 6)), min_size=1, max_size=30))
def test_groups_never_make_an_interval_narrower(images: list[tuple[bool, int]]) -> None:
    correct = np.array([right for right, _ in images])
    groups = np.array([group for _, group in images])
    found = accuracy_interval(correct, groups)
    if len(set(groups.tolist())) == 1:
        assert found is None
        return
    alone = accuracy_interval(correct)
    assert found is not None and alone is not None
    assert 0 <= found[0] <= alone[0] + 1e-12 <= correct.mean() + 1e-9
    assert correct.mean() - 1e-9 <= alone[1] - 1e-12 <= found[1] <= 1
    shuffled = np.random.default_rng(0).permutation(len(correct))
    again = accuracy_interval(correct[shuffled], groups[shuffled] + 3)
    assert again == pytest.approx(found)


@pytest.mark.parametrize("share", [0.0, 0.75, 1.0])
def test_copies_of_an_image_say_no_more_than_the_image(share: float) -> None:
    originals = np.arange(400) < share * 400
    found = accuracy_interval(np.repeat(originals, 9), np.repeat(np.arange(400), 9))
    assert found == pytest.approx(wilson_interval(share, 400), abs=1e-3)


def test_the_variance_is_that_of_a_bootstrap_of_groups() -> None:
    correct, groups = beta_binomial(around_six(300, 4), share=0.8, correlation=0.3, seed=4)
    hits, sizes = np.bincount(groups, weights=correct), np.bincount(groups)

    def accuracy(hits: NDArray[np.float64], sizes: NDArray[np.int64], axis: int = -1) -> object:
        return hits.sum(axis=axis) / sizes.sum(axis=axis)

    reference = bootstrap(
        (hits, sizes), accuracy, paired=True, n_resamples=4000, random_state=0, method="percentile"
    )
    share, n = correct.mean(), effective_size(correct, groups)
    assert n < len(correct) / 1.5
    assert np.sqrt(share * (1 - share) / n) == pytest.approx(reference.standard_error, rel=0.05)
    low, high = accuracy_interval(correct, groups) or (0, 0)
    assert low == pytest.approx(reference.confidence_interval.low, abs=0.005)
    assert high == pytest.approx(reference.confidence_interval.high, abs=0.005)


def test_the_variance_between_groups_of_different_sizes_is_the_jackknifes() -> None:
    random = np.random.default_rng(0)
    sizes = np.array([40, 20, 12, 9, 8, 7, 7, 6, 5, 3, 2, 1])
    groups = np.repeat(np.arange(len(sizes)), sizes)
    correct = random.random(len(groups)) < random.beta(2, 1, len(sizes))[groups]
    n, g, share = len(correct), len(sizes), correct.mean()
    without = np.array([correct[groups != group].mean() for group in range(g)])
    variance = (g - 1) / g * np.square(without - share).sum()
    assert variance > 2 * share * (1 - share) / n
    equal = n**2 / np.square(sizes).sum()
    few = (student.ppf(0.975, n - 1) / student.ppf(0.975, equal - 1)) ** 2
    expected = share * (1 - share) / variance * n / (n - 1) * few
    assert effective_size(correct, groups) == pytest.approx(expected)
    assert effective_size(correct | True, groups) == pytest.approx(equal * few)


@pytest.mark.parametrize("groups", [5, 10, 50])
@pytest.mark.parametrize("share", [0.75, 0.95])
def test_the_interval_holds_the_share_where_a_group_has_half_of_the_images(
    groups: int, share: float
) -> None:
    found = []
    for seed in range(300):
        sizes = np.array([5 * (groups - 1), *[5] * (groups - 1)])
        correct, group = beta_binomial(sizes, share=share, correlation=0.4, seed=seed)
        low, high = accuracy_interval(correct, group) or (0, 0)
        found.append(low <= share <= high)
    assert np.mean(found) + 0.015 >= 0.95


@pytest.mark.parametrize("groups", [2, 4, 10, 50])
@pytest.mark.parametrize("share", [0.75, 0.95])
def test_the_interval_holds_the_share_with_few_groups_and_near_1(groups: int, share: float) -> None:
    found, alone = [], []
    for seed in range(400):
        sizes = around_six(groups, seed)
        correct, group = beta_binomial(sizes, share=share, correlation=0.4, seed=seed)
        low, high = accuracy_interval(correct, group) or (0, 0)
        found.append(low <= share <= high)
        low, high = accuracy_interval(correct) or (0, 0)
        alone.append(low <= share <= high)
    assert np.mean(found) + 0.015 >= 0.9  # one standard error of the simulation
    assert np.mean(alone) < np.mean(found) - 0.02


def around_six(groups: int, seed: int) -> NDArray[np.int64]:
    return 2 + np.random.default_rng(seed).poisson(4, groups)


def beta_binomial(
    sizes: NDArray[np.int64], *, share: float, correlation: float, seed: int
) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
    """Groups of so many images each, two of which in one group correlate."""
    random = np.random.default_rng(seed)
    group = np.repeat(np.arange(len(sizes)), sizes)
    strength = 1 / correlation - 1
    shares = random.beta(share * strength, (1 - share) * strength, len(sizes))
    return random.random(len(group)) < shares[group], group
