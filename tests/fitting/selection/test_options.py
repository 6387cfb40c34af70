import dataclasses
from typing import Any

import numpy as np
import pytest
from sklearn.model_selection import GroupKFold

from bottleneck.errors import InvalidOptionError, UnknownNameError
from bottleneck.fitting.selection.options import SearchOptions
from bottleneck.linear.scaling import SCALINGS


def test_values_of_c_are_ascending_and_each_once() -> None:
    assert SearchOptions(c=[1.0, 0.1, 1.0]).grid == (0.1, 1.0)
    assert SearchOptions(c=(2.0, 1.0)).grid == (1.0, 2.0)
    assert SearchOptions(c=0.5).grid == (0.5,)
    assert SearchOptions().grid is None


def test_options_of_the_same_search_are_equal_and_hashable() -> None:
    assert len({SearchOptions(c=[1, 0.1]), SearchOptions(c=(0.1, 1.0, 1.0))}) == 1


def test_one_value_twice_is_one_value() -> None:
    assert SearchOptions(c=(1.0, 1.0), cv=0, scaling="l2").grid == (1.0,)


def test_automatic_scaling_tries_all() -> None:
    assert SearchOptions(scaling="auto").scalings == SCALINGS
    assert SearchOptions(scaling="l2").scalings == ("l2",)


def test_numbers_of_numpy_are_kept_as_pythons() -> None:
    grid = SearchOptions(c=np.array([1.0, 0.1])).grid  # type: ignore[arg-type]
    assert grid == (0.1, 1.0) and {type(c) for c in grid} == {float}
    assert type(SearchOptions(cv=np.int64(3)).cv) is int  # type: ignore[arg-type]


def test_options_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        SearchOptions().cv = 3  # type: ignore[misc]
    with pytest.raises(InvalidOptionError):
        dataclasses.replace(SearchOptions(), cv=1)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"metric": "loss"}, UnknownNameError, "unknown metric 'loss'"),
        (
            {"metric": ["accuracy", "balanced"]},
            InvalidOptionError,
            r"^`metric=\['accuracy', 'balanced'\]`: must be one of accuracy, balanced, macro_f1$",
        ),
        ({"rule": None}, InvalidOptionError, "^`rule=None`: must be one of best, 1se$"),
        ({"rule": "worst"}, UnknownNameError, "unknown rule 'worst'"),
        (
            {"scaling": "whiten"},
            InvalidOptionError,
            f"'whiten'.*{', '.join(SCALINGS)}, or auto",
        ),
        ({"c": (1.0, 0.0)}, InvalidOptionError, "^`c=0.0`: must be a number above 0"),
        ({"c": 1e31}, InvalidOptionError, r"above 0, at most 1e\+30$"),
        ({"c": (-1.0,)}, InvalidOptionError, "^`c=-1.0`: must be a number above 0"),
        ({"c": (np.nan,)}, InvalidOptionError, "^`c=nan`: must be a number above 0"),
        ({"c": (np.inf,)}, InvalidOptionError, "^`c=inf`: must be a number above 0"),
        ({"c": "auto"}, InvalidOptionError, "^`c='auto'`: must be a number above 0"),
        ({"c": ["1"]}, InvalidOptionError, "^`c='1'`: must be a number above 0"),
        ({"c": ()}, InvalidOptionError, "at least one value"),
        ({"cv": "5"}, InvalidOptionError, "^`cv='5'`: must be a whole number of folds"),
        ({"cv": 2.5}, InvalidOptionError, "^`cv=2.5`: must be a whole number of folds"),
        ({"cv": None}, InvalidOptionError, "^`cv=None`: must be a whole number of folds, or 0"),
        (
            {"cv": GroupKFold(3)},
            InvalidOptionError,
            "^`cv=GroupKFold.*images of one group, a column of the CSV `labels`, are in one fold",
        ),
        ({"cv": 1}, InvalidOptionError, "^`cv=1`: must be at least 2 folds, or 0 for none"),
        ({"cv": -3}, InvalidOptionError, "^`cv=-3`: must be at least 2 folds, or 0 for none"),
        (
            {"cv": 0, "c": (1.0, 2.0, 3.0)},
            InvalidOptionError,
            "^`cv=0`: must be at least 2 folds to choose among 3 values of C: or give one value",
        ),
        ({"cv": 0}, InvalidOptionError, "^`cv=0`: .* among a whole grid of C"),
        (
            {"cv": 0, "c": (1.0,), "scaling": "auto"},
            InvalidOptionError,
            f"^`cv=0`: .* to choose a scaling: or give one `scaling`: {', '.join(SCALINGS)}$",
        ),
    ],
)
def test_wrong_values_are_refused_when_the_options_are_made(
    options: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        SearchOptions(**options)
