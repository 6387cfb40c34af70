"""Columns of a CSV that are not used, and rows and values that no user meant."""

from pathlib import Path

import pytest

from bottleneck.data.images import open_images
from bottleneck.data.summary import summarize_images
from bottleneck.errors import ImagesNotFoundError, ImagesTableError
from tests.helpers.image_folders import rows_of, write_csv
from tests.helpers.image_tables import one_line


def remarks_of(folder: Path, text: str | bytes) -> str:
    return "\n".join(summarize_images(write_csv(folder, text)).notes.remarks)


@pytest.mark.parametrize("column", ["stage", "phase", "dataset", "type", "Part"])
def test_splits_under_another_name_are_not_trained_on_in_silence(
    tmp_path: Path, column: str
) -> None:
    rows = "".join(f"{i}.jpg,cat,{'Train' if i < 5000 else 'test'}\n" for i in range(6000))
    csv = write_csv(tmp_path, f"path,label,{column}\n{rows}")
    with pytest.raises(
        ImagesTableError, match=f"'{column}' holds 'Train', 'test', which look"
    ) as e:
        open_images(csv)
    assert one_line(e)
    quoted = f'path,label,{column}\n"a.jpg",cat,train\n"b.jpg",cat,validation\n'
    with pytest.raises(ImagesTableError, match=f"'{column}' holds 'train', 'validation'"):
        open_images(write_csv(tmp_path, quoted))


@pytest.mark.parametrize(
    "text",
    [
        "path,label,stage,split\na.jpg,cat,train,test\nb.jpg,cat,test,train\n",  # it has a split
        "path,label,vehicle\na.jpg,cat,train\nb.jpg,cat,bus\n",
        "path,label,vehicle\na.jpg,cat,train\nb.jpg,cat,train\n",
        "path,label,stage\na.jpg,cat,seg_train\nb.jpg,cat,other_test\n",
    ],
)
def test_other_columns_are_not_taken_for_splits(tmp_path: Path, text: str) -> None:
    assert len(open_images(write_csv(tmp_path, text)).table) == 2


@pytest.mark.parametrize(
    ("column", "values", "seen"),
    [("stage", "train test", "holds 'test', 'train'"), ("is_test", "0 1", "looks like a split")],
)
def test_a_fold_of_numbers_hides_no_splits(
    tmp_path: Path, column: str, values: str, seen: str
) -> None:
    rows = "".join(f"{i}.jpg,cat,{i},{value}\n" for i, value in enumerate(values.split()))
    with pytest.raises(ImagesTableError, match=f"'{column}' {seen}"):
        open_images(write_csv(tmp_path, f"path,label,fold,{column}\n{rows}"))


def test_a_column_of_zeros_and_ones_for_each_class_is_said_to_be_none(tmp_path: Path) -> None:
    text = "image,MEL,NV,site\na.jpg,1.0,0.0,2\nb.jpg,0.0,1.0,3\n"
    found = remarks_of(tmp_path, text)
    assert "the columns 'MEL', 'NV' hold 0 and 1" in found
    assert "one column label" in found
    assert "hold 0 and 1" not in remarks_of(tmp_path, "path,label,x,y\na.jpg,cat,0,1\n")
    assert "hold 0 and 1" not in remarks_of(tmp_path, "path,x,y\na.jpg,,\n")


def test_rows_that_are_too_long_are_counted(tmp_path: Path) -> None:
    text = "path,label\na.jpg,cat,x\nb.jpg,dog\nc.jpg,dog,,\nd,e.jpg,dog\n"
    assert remarks_of(tmp_path, text) == "2 rows have more values than the first line has columns"


def test_a_quote_that_is_not_closed_and_another_encoding_are_said(tmp_path: Path) -> None:
    found = remarks_of(tmp_path, 'path,label\na.jpg,"cat\nb.jpg,dog\n')
    assert found == "a value goes over several lines, 'cat\\nb.jpg,dog': is a quote missing?"
    found = remarks_of(tmp_path, "path,label\na.jpg,café\n".encode("latin-1"))
    assert found.endswith("is not UTF-8: save the file in UTF-8")


@pytest.mark.parametrize("before", ["\n\r\n  \n", "sep=;\r\n", "\nsep=;\n"])
def test_lines_before_the_header_are_passed_over(tmp_path: Path, before: str) -> None:
    csv = write_csv(tmp_path, f"{before}path;label\na.jpg;cat\nb.jpg;dog\n")
    assert rows_of(csv) == [("a.jpg", "cat", ""), ("b.jpg", "dog", "")]
    last = before.count("\n") + 4
    with pytest.raises(ImagesTableError, match=f"line {last} has no path"):
        open_images(write_csv(tmp_path, f"{before}path;label\na.jpg;cat\nb.jpg;dog\n;x\n"))
    with pytest.raises(ImagesTableError, match=f"lines {last - 2} and {last}"):
        open_images(write_csv(tmp_path, f"{before}path;label\na.jpg;cat\nb.jpg;dog\na.jpg;x\n"))


def test_utf_16_is_known_without_its_mark_too(tmp_path: Path) -> None:
    with pytest.raises(ImagesTableError, match="UTF-16 or UTF-32: save it as CSV in UTF-8"):
        open_images(write_csv(tmp_path, "path,label\na.jpg,cat\n".encode("utf-16-le")))


def test_a_list_may_be_a_tsv_and_one_without_rows_says_so(tmp_path: Path) -> None:
    tsv = write_csv(tmp_path, "path\tlabel\na.jpg\tcat, big\n", name="images.TSV")
    assert rows_of(tsv) == [("a.jpg", "cat, big", "")]
    with pytest.raises(ImagesNotFoundError, match="no row behind its first line"):
        open_images(write_csv(tmp_path, "path,label\n"))
