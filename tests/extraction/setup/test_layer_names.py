from typing import Any

import pytest

from bottleneck.errors import InvalidOptionError
from bottleneck.extraction.setup.layer_names import layer_names, pool_names


def test_one_name_or_any_iterable_of_names_is_accepted() -> None:
    assert layer_names("features.12") == ["features.12"]
    assert layer_names(name for name in ("b", "a")) == ["b", "a"]
    assert pool_names("2x2") == ["2"]
    assert pool_names(iter(["avg", "2"])) == ["avg", "2"]
    assert pool_names(None) == []


@pytest.mark.parametrize(
    ("layers", "words"),
    [([], r"\[\]`.*one name"), ([3], "3`.*list of names"), (["b", ""], "''`.*list of names")],
)
def test_none_and_what_is_no_name_are_refused(layers: Any, words: str) -> None:
    with pytest.raises(
        InvalidOptionError, match=rf"`layers={words}: `bottleneck.layers` lists them"
    ):
        layer_names(layers)


@pytest.mark.parametrize(
    ("pool", "words"),
    [
        ([], "at least one pooling"),
        (2, "with quotes"),
        (["avg", 2], "with quotes"),
        ("mean", "max"),
    ],
)
def test_poolings_are_at_least_one_and_exist(pool: Any, words: str) -> None:
    with pytest.raises(InvalidOptionError, match=f"`pool=.*{words}"):
        pool_names(pool)
