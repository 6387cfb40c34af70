from typing import Any

import pytest

from bottleneck.errors import BottleneckError, InvalidOptionError, UnknownNameError
from bottleneck.fitting.options import SearchOptions, check_grid


@pytest.mark.parametrize("scaling", ["standardize", "l2", "none", "auto"])
@pytest.mark.parametrize("metric", ["accuracy", "balanced", "macro_f1"])
@pytest.mark.parametrize("rule", ["best", "1se"])
def test_known_names_are_allowed(scaling: str, metric: str, rule: str) -> None:
    SearchOptions(scaling=scaling, metric=metric, rule=rule)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        (
            {"metric": "acuracy"},
            UnknownNameError,
            "unknown metric 'acuracy': did you mean accuracy?",
        ),
        ({"metric": "loss"}, UnknownNameError, "unknown metric 'loss': there is"),
        ({"rule": "2"}, UnknownNameError, "unknown rule '2': there is best, 1se"),
        (
            {"scaling": "whiten"},
            InvalidOptionError,
            "`scaling='whiten'`: must be one of standardize, l2, none, or auto",
        ),
        (
            {"c": (1.0, 0.0)},
            InvalidOptionError,
            "`c='0'`: must be a finite number above 0, or auto",
        ),
        ({"cv": 1}, InvalidOptionError, "`cv=1`: must be at least 2 folds, or 0 for none"),
        ({"cv": -3}, InvalidOptionError, "`cv=-3`: must be at least 2 folds, or 0 for none"),
        (
            {"cv": 0, "c": (1.0, 2.0)},
            InvalidOptionError,
            "`cv=0`: must be at least 2 folds to choose among 2 values of C: or give one value "
            "of `c`",
        ),
        (
            {"cv": 0},
            InvalidOptionError,
            "`cv=0`: must be at least 2 folds to choose among a whole grid of C",
        ),
        (
            {"cv": 0, "c": (1.0,), "scaling": "auto"},
            InvalidOptionError,
            "`cv=0`: must be at least 2 folds to choose a scaling: "
            "or give `scaling='standardize'`, 'l2' or 'none'",
        ),
    ],
)
def test_other_values_are_refused_when_the_options_are_made(
    options: dict[str, Any], error: type[BottleneckError], message: str
) -> None:
    with pytest.raises(error) as caught:
        SearchOptions(**options)
    assert str(caught.value).startswith(message)


def test_one_value_twice_is_one_value() -> None:
    assert SearchOptions(c=(1.0, 1.0), cv=0).c == (1.0,)


@pytest.mark.parametrize("wrong", [0.0, -1.0, float("nan"), float("inf")])
def test_values_of_c_are_above_0(wrong: float) -> None:
    with pytest.raises(InvalidOptionError, match="must be a finite number above 0"):
        check_grid([1.0, wrong])


def test_a_grid_is_sorted_and_each_value_once() -> None:
    assert check_grid([10.0, 0.1, 10.0]) == (0.1, 10.0)
