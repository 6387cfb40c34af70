"""What does not apply is refused with its value as the command line spells it."""

from pathlib import Path

import pytest

from bottleneck.errors import InvalidOptionError
from bottleneck.runtime.validation import require_left_out


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (64, "64"),
        ((0.5, 0.25), "'0.5,0.25'"),
        (["flip", "crop"], "'flip,crop'"),
        (Path("a"), "'a'"),
    ],
)
def test_what_has_no_meaning_is_refused_as_it_was_given(value: object, shown: str) -> None:
    with pytest.raises(InvalidOptionError) as caught:
        require_left_out("it is for images", other=None, option=value)
    assert str(caught.value) == f"`option={shown}`: must be left out: it is for images"
