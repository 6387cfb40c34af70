"""Searches over C that are no subject of a test: three values in place of up to sixteen."""

from collections.abc import Iterator

import pytest

from bottleneck.fitting.selection import cross_validation

# A module or a conftest that says `few_cs = searches.few_cs` has the short grid in its tests. What
# the default one finds is tested in tests/fitting.


@pytest.fixture(autouse=True, scope="module")
def few_cs() -> Iterator[None]:
    """Search a coarse grid of three values, and no finer ones, where no C is given."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cross_validation, "C_GRID", (1e-4, 1e-2, 1.0))
        patch.setattr(cross_validation, "_REFINEMENTS", ())
        yield
