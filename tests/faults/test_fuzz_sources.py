"""A few changed archives, tables and arrays; `make torture` makes thousands."""

import os

import pytest

from tests.faults import fuzz_sources


@pytest.mark.parametrize("seed", [1, 2])
def test_a_changed_archive_is_read_or_refused_in_one_line(seed: int) -> None:
    fuzz_sources.tars(seed, 150)


@pytest.mark.parametrize("seed", [1, 2])
def test_a_changed_array_is_read_or_refused_in_one_line(seed: int) -> None:
    fuzz_sources.npz_files(seed, 150)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="children are forked")
def test_a_changed_table_is_read_or_refused_in_one_line() -> None:
    assert fuzz_sources.tables(1, 50) == (50, 0)
