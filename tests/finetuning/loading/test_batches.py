import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from bottleneck.finetuning.loading.batches import batch_bounds
from tests.helpers.tails import examples


@given(count=st.integers(0, 300), batch_size=st.integers(1, 40))
def test_batches_are_as_few_as_can_be_and_differ_by_one_at_most(
    count: int, batch_size: int
) -> None:
    sizes = np.diff(batch_bounds(count, batch_size))
    assert sizes.sum() == count
    assert len(sizes) == -(-count // batch_size)
    if len(sizes):
        assert 0 < sizes.min() >= sizes.max() - 1
        assert sizes.max() <= batch_size


def test_some_examples_have_their_own_rows_targets_and_groups() -> None:
    some = examples(12, groups=np.arange(12) // 2).take(np.array([1, 4, 9]))
    assert some.groups is not None
    assert (some.rows.tolist(), some.targets.tolist()) == ([2, 8, 18], [1, 1, 0])
    assert (some.groups.tolist(), len(some), some.multilabel) == ([0, 2, 4], 3, False)
