"""Choices that are no subject of a test: few values of C, and one trial of a learning rate."""

from collections.abc import Iterator

import pytest

from bottleneck.fitting.selection import cross_validation

# A module or a conftest that says `few_cs = searches.few_cs` has the short grid in its tests, and
# the one trial as well by its name. What the default ones find is tested in tests/fitting and in
# tests/finetuning/training.


@pytest.fixture(autouse=True, scope="module")
def few_cs() -> Iterator[None]:
    """Search a coarse grid of three values, and no finer ones, where no C is given."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cross_validation, "C_GRID", (1e-4, 1e-2, 1.0))
        patch.setattr(cross_validation, "_REFINEMENTS", ())
        yield


@pytest.fixture(autouse=True, scope="module")
def one_trial() -> Iterator[None]:
    """Try a learning rate once, in place of once for each fifth of few images."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("bottleneck.finetuning.training.choice._ENOUGH", 1)
        yield
