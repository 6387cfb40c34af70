"""Find the columns of images, labels, splits and groups in the schema of a Parquet file."""

import json
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bottleneck.data.labels import SEPARATOR
from bottleneck.data.table.image_table import is_storable
from bottleneck.errors import ImagesTableError

_IMAGE_NAMES = ("image", "img", "picture", "photo", "jpg", "jpeg", "png")
_PATH_NAMES = ("path", "image_path", "file_path", "filepath", "file_name", "filename", "file")
_LABEL_NAMES = ("label", "labels", "class", "cls", "category", "target")
_SPLIT_NAMES = ("split", "set", "subset", "data_split")
_GROUP_NAMES = ("group", "groups")

_BINARY = ("binary", "large_binary", "binary_view")
_STRING = ("string", "large_string", "string_view")


@dataclass(frozen=True)
class ParquetColumns:
    """The columns of a Parquet file that are used.

    Attributes
    ----------
    data : str
        The column of encoded images: ``image.bytes`` for a struct; empty where there are only
        paths.
    path : str
        The column of names or paths; may be empty.
    label, split, group : str
        Columns; may be empty.
    names : tuple of str
        The class names by number; empty where labels are texts, or numbers without names.
    unused : tuple of str
        All other columns.
    """

    data: str
    path: str
    label: str
    split: str
    group: str
    names: tuple[str, ...]
    unused: tuple[str, ...] = ()

    @property
    def beside_images(self) -> list[str]:
        """The columns that are read at once, since they are small."""
        return [name for name in (self.path, self.label, self.split, self.group) if name]


def find_columns(file: Path, schema: Any) -> ParquetColumns:
    """Choose the columns of a Parquet file.

    Hugging Face's datasets say in the schema's metadata which columns are images and what the
    classes are called. Otherwise types and usual names decide.

    Parameters
    ----------
    file : Path
        For messages.
    schema : pyarrow.Schema

    Raises
    ------
    ImagesTableError
        There is no column of images, or several and no telling which; the same of labels.
    """
    features = _features(schema.metadata)
    kinds = {field.name: _image_kind(field.type) for field in schema}
    marked = [name for name, kind in kinds.items() if kind and _is(features.get(name), "Image")]
    encoded = marked or [name for name, kind in kinds.items() if kind]
    seen = ", ".join(f"{field.name} ({field.type})" for field in list(schema)[:12])
    if encoded:
        image = _choose(file, "images", encoded, _IMAGE_NAMES)
        data = image if kinds[image] == "binary" else f"{image}.bytes"
        path = f"{image}.path" if kinds[image] == "struct with path" else ""
    else:
        texts = [field.name for field in schema if str(field.type) in _STRING]
        image = path = _first_named(texts, _PATH_NAMES + _IMAGE_NAMES)
        data = ""
    if not image:
        raise ImagesTableError(
            f"{file} has no column of images: there must be one of binary values, of "
            f"struct<bytes, path>, or of texts called path; it has {seen}"
        )
    columns = [field.name for field in schema if field.name not in encoded]
    label = _label_column(file, columns, features)
    split, group = (_first_named(columns, names) for names in (_SPLIT_NAMES, _GROUP_NAMES))
    used = {image, label, split, group}
    return ParquetColumns(
        data=data,
        path=path,
        label=label,
        split=split,
        group=group,
        names=_class_names(file, label, features.get(label)),
        unused=tuple(field.name for field in schema if field.name not in used),
    )


def label_texts(
    file: Path, column: str, values: Iterable[Any], names: Sequence[str] = ()
) -> Iterator[str]:
    """Yield the values of a column of labels, splits or groups as text.

    Parameters
    ----------
    file, column
        For messages.
    values : iterable
        Texts, integers, or None; lists of these for several labels, of which those are left out
        that say none.
    names : sequence of str
        Class names by number.

    Raises
    ------
    ImagesTableError
        A value is something else, or a number has no name.

    Examples
    --------
    >>> list(label_texts(Path("a.parquet"), "label", [1, None, [0, 1]], ["cat", "dog"]))
    ['dog', '', 'cat|dog']
    """
    for row, value in enumerate(values):
        several = value if isinstance(value, list) else [value]
        try:
            yield SEPARATOR.join(filter(None, (_text(one, names) for one in several)))
        except ValueError as error:
            raise ImagesTableError(
                f"{file}: row {row + 1} of column {column!r} is {str(value)[:40]!r}: {error}"
            ) from error


def _text(value: Any, names: Sequence[str]) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):  # as pandas has it
        return ""
    if isinstance(value, bytes):
        value = value.decode("utf-8", "surrogateescape")
    if isinstance(value, float) and value.is_integer():
        value = int(value)  # integers some of which are missing, as pandas stores them
    if isinstance(value, int):
        if not names:
            return str(int(value))
        if value == -1:  # no label, as in a test set whose labels are kept secret
            return ""
        if not 0 <= value < len(names):
            raise ValueError(f"there are {len(names)} classes")
        text = names[value]
    elif isinstance(value, str):
        text = value.strip()
    else:
        raise ValueError("neither a text nor an integer")
    if not is_storable(text):
        raise ValueError("its text has a NUL, or half of a surrogate pair")
    return text


def _features(metadata: dict[bytes, bytes] | None) -> dict[str, Any]:
    """Return what Hugging Face's datasets say of their columns; empty if it is not there."""
    try:
        features = json.loads((metadata or {})[b"huggingface"])["info"]["features"]
    except (KeyError, TypeError, ValueError, RecursionError):
        return {}
    return features if isinstance(features, dict) else {}


def _is(feature: Any, kind: str) -> bool:
    return isinstance(feature, dict) and feature.get("_type") == kind


def _image_kind(kind: Any) -> str:
    text = str(kind)
    if text in _BINARY:
        return "binary"
    if not text.startswith("struct<"):
        return ""
    fields = {field.name: str(field.type) for field in kind}
    if fields.get("bytes") not in _BINARY:
        return ""
    return "struct with path" if fields.get("path") in _STRING else "struct"


def _label_column(file: Path, columns: Sequence[str], features: dict[str, Any]) -> str:
    named = _first_named(columns, _LABEL_NAMES)
    if named:
        return named
    classes = [name for name in columns if _class_label(features.get(name)) is not None]
    return _choose(file, "labels", classes, ()) if classes else ""


def _class_label(feature: Any) -> Any:
    """Return the feature of classes, also that of a list of them; None if it is none."""
    if isinstance(feature, list) and len(feature) == 1:
        return _class_label(feature[0])
    if _is(feature, "Sequence") or _is(feature, "List") or _is(feature, "LargeList"):
        return _class_label(feature.get("feature"))
    return feature if _is(feature, "ClassLabel") else None


def _class_names(file: Path, label: str, feature: Any) -> tuple[str, ...]:
    found = _class_label(feature)
    names = found.get("names") if found else None
    if not isinstance(names, list):
        return ()
    for name in names:
        if SEPARATOR in str(name):
            raise ImagesTableError(
                f"{file}: column {label!r} has a class {name!r}, but {SEPARATOR} stands between "
                "the names of several classes: rename it"
            )
    return tuple(map(str, names))


def _first_named(columns: Sequence[str], names: Sequence[str]) -> str:
    by_name = {column.strip().lower(): column for column in reversed(columns)}
    return next((by_name[name] for name in names if name in by_name), "")


def _choose(file: Path, what: str, columns: Sequence[str], names: Sequence[str]) -> str:
    chosen = _first_named(columns, names) if len(columns) > 1 else columns[0]
    if not chosen:
        usual = names[0] if names else _LABEL_NAMES[0]
        raise ImagesTableError(
            f"{file} has {len(columns)} columns of {what}, {', '.join(columns[:8])}: call the one "
            f"that is meant {usual!r}"
        )
    return chosen
