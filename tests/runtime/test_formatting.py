import pytest
from hypothesis import given
from hypothesis import strategies as st

from bottleneck.runtime.formatting import (
    escape_unprintable,
    format_duration,
    format_names,
    format_rejected,
    format_shape,
    format_size,
    format_table,
)

CELLS = st.text(st.characters(codec="ascii", exclude_categories=["C", "Z"]), min_size=1)


def test_columns_stand_under_their_headers() -> None:
    lines = format_table(["name", "n"], [["a", "1"], ["longer", "1000"]]).splitlines()
    assert lines == ["name       n", "a          1", "longer  1000"]


def test_a_header_alone_is_a_line() -> None:
    assert format_table(["name", "n"], []) == "name  n"


@given(st.integers(1, 4).flatmap(lambda n: st.lists(st.lists(CELLS, min_size=n, max_size=n))))
def test_every_cell_comes_back(rows: list[list[str]]) -> None:
    header = [f"column{i}" for i in range(len(rows[0]) if rows else 1)]
    lines = format_table(header, iter(rows)).split("\n")
    assert [line.split() for line in lines] == [header, *rows]
    assert len({len(line) for line in lines}) == 1 or len(header) == 1


def test_an_empty_last_cell_leaves_no_blanks() -> None:
    assert format_table(["a", ""], [["1", ""], ["2", "*"]]).splitlines() == ["a", "1", "2  *"]


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1 kB"),
        (999_499, "999 kB"),
        (999_500, "1 MB"),
        (999_999_999, "1 GB"),
        (4096, "4.1 kB"),
        (2.6e9, "2.6 GB"),
        (5e14, "500 TB"),
    ],
)
def test_bytes_as_people_read_them(count: float, text: str) -> None:
    assert format_size(count) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (26.4, "26 s"),
        (120.4, "120 s"),
        (120.6, "2 min 1 s"),
        (200, "3 min 20 s"),
        (3599.4, "59 min 59 s"),
        (3599.6, "1 h 0 min"),
        (7385, "2 h 3 min"),
        (100 * 3600 - 1, "100 h 0 min"),
    ],
)
def test_times_as_people_read_them(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


@pytest.mark.parametrize(
    ("text", "shown"), [("ants", "ants"), ("a\nb", "a\\nb"), ("é", "é"), ("\udcff", "\\udcff")]
)
def test_names_keep_to_their_line(text: str, shown: str) -> None:
    assert escape_unprintable(text) == shown


@pytest.mark.parametrize(
    ("names", "text"),
    [
        ([], ""),
        (["a"], "a"),
        (["a", "b"], "a, b"),
        (list("abcd"), "a, b and 2 more"),
        (["\x1b"], "\\x1b"),
    ],
)
def test_names_beyond_the_first_are_counted(names: list[str], text: str) -> None:
    assert format_names(names, most=2) == text


def test_rejected_images_beyond_the_first_ten_are_counted() -> None:
    reasons = {f"{i}\n.jpg": "it is empty" for i in range(12)}
    lines = format_rejected(reasons, "left out", end=": see the log")
    assert lines[0] == "left out: 0\\n.jpg: it is empty"
    assert lines[10:] == ["… and 2 more: see the log"]
    assert len(format_rejected(dict(list(reasons.items())[:10]))) == 10
    assert format_rejected({}) == []


def test_a_shape_is_its_sides() -> None:
    assert (format_shape((512, 13, 13)), format_shape((10,))) == ("512×13×13", "10")
