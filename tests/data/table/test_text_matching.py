import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bottleneck.data.table import text_matching
from bottleneck.data.table.string_column import StringColumn
from bottleneck.data.table.text_matching import find_repeats, match_texts

TEXTS = st.lists(st.sampled_from(["", "a", "b", "ab", "\udcff", "\0", "ä"]), max_size=12)


@pytest.mark.parametrize("equal_hashes", [False, True])
@given(texts=TEXTS, known=TEXTS)
def test_texts_are_found_whatever_their_hashes(
    texts: list[str], known: list[str], equal_hashes: bool
) -> None:
    distinct = list(dict.fromkeys(known))
    with pytest.MonkeyPatch.context() as patch:
        if equal_hashes:
            patch.setattr(text_matching, "_hashes", lambda _texts, n: np.zeros(n, dtype=np.int64))
        found = match_texts(StringColumn(texts), StringColumn(distinct))
    assert found.tolist() == [distinct.index(text) if text in distinct else -1 for text in texts]


@given(texts=TEXTS)
def test_every_repeat_is_found_with_its_first_place(texts: list[str]) -> None:
    repeats = [(texts.index(text), row, text) for row, text in enumerate(texts)]
    expected = [(first, row, text) for first, row, text in repeats if first != row]
    assert list(find_repeats(lambda: iter(texts), len(texts))) == expected
