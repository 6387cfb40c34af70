"""The columns of a CSV by their usual names, its separator, and what is refused by name."""

from pathlib import Path

import pytest

from bottleneck.data.images import open_images
from bottleneck.data.summary import summarize_images
from bottleneck.errors import ImagesTableError
from tests.helpers.image_folders import touch, write_csv
from tests.helpers.image_tables import one_line

Row = tuple[str, str, str, str]


def only_row(folder: Path, text: str | bytes) -> Row:
    table = open_images(write_csv(folder, text)).table
    (row,) = zip(table.path, table.label, table.split, table.group, strict=True)
    return row


@pytest.mark.parametrize(
    "text",
    [
        "path, label\na.jpg, ants\n",
        "path,label\r\na.jpg,ants \r\n",
        "Path,LABEL\na.jpg,ants\n",
        " path ,\tLabel\na.jpg,\tants\n",
        "path;label\na.jpg;ants\n",
        "path\tlabel\na.jpg\tants\n",
        "\ufeffpath;label\r\na.jpg;ants\r\n",
        '"path";"label"\n"a.jpg";"ants"\n',
        'path,label\na.jpg," ants"\n',
        "filename,class\na.jpg,ants\n",
        "File Name,Category\na.jpg,ants\n",
        "image_path,target\na.jpg,ants\n",
        "filepath,class_name\na.jpg,ants\n",
        "Image,Label\na.jpg,ants\n",
        "label;img;\nants;a.jpg;\n",
    ],
)
def test_path_and_label_are_found_however_they_are_written(tmp_path: Path, text: str) -> None:
    assert only_row(tmp_path, text) == ("a.jpg", "ants", "", "")


@pytest.mark.parametrize("column", ["split", "Set", "subset", "partition", "Usage", "data_split"])
@pytest.mark.parametrize(
    ("value", "split"),
    [
        ("Train", "train"),
        ("training", "train"),
        (" valid", "val"),
        ("DEV", "val"),
        ("Testing", "test"),
        ("PublicTest", "test"),
        ("holdout", "holdout"),
        ("train_val", "train_val"),
        ("", ""),
    ],
)
def test_a_split_has_any_usual_name_and_value(
    tmp_path: Path, column: str, value: str, split: str
) -> None:
    assert only_row(tmp_path, f"path,{column}\na.jpg,{value}\n") == ("a.jpg", "", split, "")


@pytest.mark.parametrize("column", ["group", "Patient", "patient_id", "subject", "Subject ID"])
def test_a_group_is_a_patient_too(tmp_path: Path, column: str) -> None:
    assert only_row(tmp_path, f"path;{column}\na.jpg;P 7\n") == ("a.jpg", "", "", "P 7")


def test_translated_splits_are_remarked(tmp_path: Path) -> None:
    text = "path,set\na.jpg,Training\nb.jpg,train\nc.jpg,PrivateTest\nd.jpg,val\n"
    source = open_images(write_csv(tmp_path, text))
    assert source.table.split == ["train", "train", "test", "val"]
    assert summarize_images(source).notes.remarks == (
        "columns by their usual names: 'set' is split",
        "splits by their usual names: 'Training' is train, 'PrivateTest' is test",
    )


def test_columns_that_are_not_used_are_named(tmp_path: Path) -> None:
    text = ",Unnamed: 0,path,camera,class,label,id\n0,0,a.jpg,left,insect,ants,7\n"
    (remark,) = summarize_images(write_csv(tmp_path, text)).notes.remarks
    assert remark == "columns that are not used: 'camera', 'class', 'id'"
    many = ",".join(f"x{i}" for i in range(30))
    (remark,) = summarize_images(write_csv(tmp_path, f"path,{many}\na.jpg\n")).notes.remarks
    assert remark.endswith("'x6', 'x7', … (30 in all)")


def test_the_name_of_the_column_itself_goes_before_others(tmp_path: Path) -> None:
    text = "filename,path,class,label,set,split,patient,group\nb,a.jpg,c,ants,test,train,p,g\n"
    assert only_row(tmp_path, text) == ("a.jpg", "ants", "train", "g")
    assert only_row(tmp_path, "filename,filepath\na.jpg,x/a.jpg\n")[0] == "x/a.jpg"


def test_a_fold_is_a_split_only_if_its_values_are(tmp_path: Path) -> None:
    csv = write_csv(tmp_path, "path,fold\na.jpg,0\nb.jpg,1\n")
    assert open_images(csv).table.split == ["", ""]
    remarks = summarize_images(csv).notes.remarks
    assert remarks == (
        "columns that are not used: 'fold'",
        "the values of 'fold' are no splits: '0', '1'",
    )
    assert open_images(write_csv(tmp_path, "path,Fold\na.jpg,test\n")).table.split == ["test"]
    both = open_images(write_csv(tmp_path, "path,fold,set\na.jpg,0,test\n")).table
    assert both.split == ["test"]


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("ants/1.jpg,ants\nants/2.jpg,ants\n", ["'ants/1.jpg', 'ants'", "no column 'path'"]),
        ("ants\\1.jpg;ants\n", ["no column 'path'", "before it"]),
        ("url,label\nhttp,ants\n", ["'url', 'label'", "path[,label]"]),
        ("", ["no column 'path'"]),
        ("path,class,category\na.jpg,ants,x\n", ["'class', 'category'", "name one of them label"]),
        ("path,set,subset\na.jpg,train,x\n", ["'set', 'subset'", "name one of them split"]),
        ("path,label,Label\na.jpg,ants,x\n", ["'label', 'Label'"]),
        ("path,path\na.jpg,b.jpg\n", ["'path', 'path'"]),
        ("path,label,is_test\na.jpg,ants,1\n", ["'is_test'", "train, val and test"]),
        ("path,label,Training\na.jpg,ants,1\n", ["'Training'", "name it split"]),
        ("path,label\n".encode("utf-16"), ["UTF-16", "UTF-8"]),
    ],
    ids=lambda value: repr(value)[:24] if isinstance(value, str | bytes) else "",
)
def test_unknown_headers_are_refused_with_their_names(
    tmp_path: Path, text: str | bytes, seen: list[str]
) -> None:
    csv = write_csv(tmp_path, text)
    with pytest.raises(ImagesTableError) as caught:
        open_images(csv)
    assert one_line(caught)
    for part in (str(csv), *seen):
        assert part in str(caught.value)


def test_a_split_beside_a_flag_is_the_split(tmp_path: Path) -> None:
    assert only_row(tmp_path, "path,split,is_test\na.jpg,val,1\n")[2] == "val"


def test_other_separators_have_quoted_fields_too(tmp_path: Path) -> None:
    text = 'path;label\n"a;b.jpg";"the ""big"" one"\nc,d.jpg;e,f\n'
    table = open_images(write_csv(tmp_path, text)).table
    assert table.path == ["a;b.jpg", "c,d.jpg"]
    assert table.label == ['the "big" one', "e,f"]


def test_many_rows_are_read_with_any_separator(tmp_path: Path) -> None:
    rows = [
        (f"ants/{i:05}.jpg", "ants" if i % 2 else "", ("train", "Test")[i % 2]) for i in range(9000)
    ]
    for separator in ",;\t":
        lines = [separator.join(row) for row in [("path", "label", "split"), *rows]]
        table = open_images(write_csv(tmp_path, "\n".join([*lines, ""]))).table
        assert table.path == [row[0] for row in rows]
        assert table.label == [row[1] for row in rows]
        assert table.split == [row[2].lower() for row in rows]


def test_lines_that_are_blamed_are_counted_with_any_separator(tmp_path: Path) -> None:
    rows = "".join(f"{i}.jpg;ants\n" for i in range(9000))
    csv = write_csv(tmp_path, f"path;label\n{rows}7.jpg;bees\n")
    with pytest.raises(ImagesTableError, match=r"'7\.jpg' is on lines 9 and 9002"):
        open_images(csv)


def test_test_rows_are_never_among_those_to_train_on(tmp_path: Path) -> None:
    touch(tmp_path, *"abc")
    from bottleneck.data.splits import train_and_heldout_splits

    for column in ("split", "set", "Usage", "fold"):
        text = f"path,label,{column}\na,ants,Train\nb,bees,Training\nc,ants,Test\n"
        assert train_and_heldout_splits(open_images(write_csv(tmp_path, text)).table) == (
            "train",
            "test",
        )
