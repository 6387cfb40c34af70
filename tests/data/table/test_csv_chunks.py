import csv
import io
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bottleneck.data.table import csv_chunks
from bottleneck.data.table.csv_chunks import (
    format_rows,
    iter_chunks,
    parse_int_column,
    split_header,
    split_unquoted,
)

CELLS = st.text(',"\n\r é\udcffa1', max_size=4)
ROWS = st.lists(st.tuples(CELLS, CELLS, CELLS), max_size=12)


def written(rows: list[tuple[str, ...]]) -> str:
    """By the csv module."""
    out = io.StringIO()
    csv.writer(out).writerows(rows)
    return out.getvalue()


def parsed(text: str) -> list[list[str]]:
    return list(csv.reader(io.StringIO(text, newline="")))


@given(ROWS)
def test_lines_are_those_that_the_csv_module_writes(rows: list[tuple[str, ...]]) -> None:
    columns = [[row[i] for row in rows] for i in range(3)]
    assert format_rows(columns) == written(rows)


@given(ROWS)
def test_plain_columns_are_what_the_csv_module_reads_or_none(rows: list[tuple[str, ...]]) -> None:
    text = written(rows)
    for block in (text, text.replace("\r\n", "\n")):
        found = split_unquoted(block, 3)
        if found is not None:
            assert [list(row) for row in zip(*found, strict=True)] == parsed(block)
    if rows and not any(set(cell) & set(',"\r\n') for row in rows for cell in row):
        assert split_unquoted(text, 3) == [[row[i] for row in rows] for i in range(3)]


@given(st.text('a,\r\n"', max_size=14), st.integers(1, 3))
@example("a,b\r\nc\r\nd,e,f\r\n", 2)
@example("a\rb,c\r\n", 2)
@example("a,b\r\n\nc,d\r\n", 2)
def test_a_block_that_is_not_plain_is_left_to_the_csv_module(block: str, count: int) -> None:
    found = split_unquoted(block, count)
    if found is not None:
        rows = [list(row) for row in zip(*found, strict=True)]
        assert rows == [row or [""] for row in parsed(block)]  # a blank line, of one column
        assert {len(row) for row in rows} <= {count}


@given(ROWS, st.integers(1, 30))
def test_blocks_are_whole_rows(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, ...]], at_once: int
) -> None:
    path = tmp_path_factory.getbasetemp() / "blocks.csv"
    path.write_bytes(written(rows).encode("utf-8", "surrogateescape"))
    with pytest.MonkeyPatch.context() as patch, path.open("rb") as file:
        patch.setattr(csv_chunks, "_CHUNK_BYTES", at_once)
        blocks = list(iter_chunks(file))
    assert "".join(blocks) == written(rows)
    assert [row for block in blocks for row in parsed(block)] == [list(row) for row in rows]


def test_a_header_may_be_quoted_over_two_lines() -> None:
    assert split_header('"a\r\nb",c\r\nd,e\r\n') == (["a\r\nb", "c"], "d,e\r\n")
    assert split_header("a,b\rc,d\r") == (["a", "b"], "c,d\r")
    assert split_header("") == ([], "")


@given(st.lists(st.integers(-(2**63), 2**63 - 2), min_size=1))
def test_whole_numbers_are_read(numbers: list[int]) -> None:
    found = parse_int_column([str(number) for number in numbers])
    assert found is not None
    assert found.dtype == np.int64
    assert found.tolist() == numbers


@pytest.mark.parametrize(
    "odd", ["", " ", "1.5", "x", "1e3", "-", "1 2", "9" * 20, "-" + "9" * 20, "é"]
)
def test_a_column_with_a_value_that_is_no_integer_gives_none(odd: str) -> None:
    assert parse_int_column(["1", odd, "2"]) is None


def test_a_file_that_ends_within_quotes_is_one_block(tmp_path: Path) -> None:
    (tmp_path / "open.csv").write_text('a,b\n"c,d\ne,f\n')
    with (tmp_path / "open.csv").open("rb") as file:
        assert list(iter_chunks(file)) == ['a,b\n"c,d\ne,f\n']


@given(ROWS, st.sampled_from(";\t"))
def test_other_separators_give_the_same_columns(
    rows: list[tuple[str, ...]], separator: str
) -> None:
    plain = [row for row in rows if not any(set(cell) & set(',"\r\n') for cell in row)]
    text = "".join(f"{separator.join(row)}\n" for row in plain)
    assert split_header(f"a,b{separator}c\n{text}", separator) == (["a,b", "c"], text)
    if plain:
        assert split_unquoted(text, 3, separator) == [[row[i] for row in plain] for i in range(3)]
        assert split_unquoted(text, 2, separator) is None
