"""Labels in files beside the images of an archive, as WebDataset writes them."""

import json
import posixpath
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from bottleneck.data.labels import SEPARATOR
from bottleneck.data.sources.unused import note_unused
from bottleneck.data.table.blocks import in_blocks
from bottleneck.data.table.categorical_column import CategoricalColumn
from bottleneck.data.table.image_table import is_storable
from bottleneck.data.table.text_matching import find_repeats
from bottleneck.errors import ImagesTableError
from bottleneck.runtime import format_count

_MOST_TEXT = 256  # characters of a class name; a longer text is a caption
_MOST_JSON = 1 << 20
_MOST_KEYS, _MOST_VALUES = 64, 8  # of JSON, that are looked at
_LABEL_KEYS = ("label", "class", "cls", "category", "target")


class Sidecars:
    """Files that give labels to the images of one archive.

    ``1.cls`` or ``1.txt`` holds the label of ``1.jpg``. ``1.json`` holds an object whose keys
    ``label`` (or ``class``, ``cls``, ``category``, ``target``), ``split`` and ``group`` count. The
    label is that of ``.cls``, else of ``.json``, else of ``.txt``. Texts are only taken as labels
    if every image of the archive has one. Other files may have the same suffixes: one that is no
    label is an error only if it lies beside an image.

    Parameters
    ----------
    archive : Path
        For messages.

    Examples
    --------
    >>> beside = Sidecars(Path("a.tar"))
    >>> beside.add("1.cls", b"7")
    >>> beside.add("1.json", b'{"split": "train"}')
    >>> [column[:] for column in beside.columns(["1.jpg", "2.jpg"])]
    [['7', ''], ['train', ''], ['', '']]
    """

    def __init__(self, archive: Path) -> None:
        self._archive = archive
        self._cls: dict[str, str] = {}
        self._txt: dict[str, str] = {}
        self._json: dict[str, tuple[str, str, str]] = {}
        self._problems: dict[
            str, str
        ] = {}  # as texts: an exception would keep the file's contents in memory
        self._known: dict[Any, Any] = {}  # equal values are kept once
        self._values: dict[str, set[str]] = {}  # the first texts of each key of JSON
        self._used = {"split", "group"}  # keys
        self._example = ""  # of a .txt, if these are the labels
        self._no_objects = 0  # files of JSON that hold a list, a number or a text
        self._no_object = ""  # the first of them

    @staticmethod
    def takes(name: str) -> bool:
        """Return whether a member is such a file, by its name."""
        return posixpath.splitext(name)[1].lower() in (".cls", ".txt", ".json")

    @staticmethod
    def most_bytes(name: str) -> int:
        """Return how many bytes of a file are read at most: one too many shows that it is large."""
        return (_MOST_JSON if name.lower().endswith(".json") else 4 * _MOST_TEXT) + 1

    def add(self, name: str, data: bytes) -> None:
        """Take a file's contents, of which the first `most_bytes` are enough."""
        stem, suffix = posixpath.splitext(name)
        try:
            self._take(name, stem, suffix.lower(), data)
        except ImagesTableError as error:
            self._problems[stem] = str(error)

    def refuse(self, name: str, what: str) -> None:
        """Remember what is wrong with a file: an error only if it lies beside an image."""
        self._problems[posixpath.splitext(name)[0]] = str(self._error(name, what))

    def _take(self, name: str, stem: str, suffix: str, data: bytes) -> None:
        if suffix == ".json":
            annotation = self._parse_json(name, data)
            self._json[stem] = self._known.setdefault(annotation, annotation)
            return
        text = data.decode("utf-8-sig", "surrogateescape").strip()
        is_name = len(text) <= _MOST_TEXT and "\n" not in text and "\0" not in text
        if suffix == ".cls" and not (is_name and (text.isprintable() or not text)):
            what = f"is {text[:40]!r}, not the name or number of a class: one line of UTF-8"
            raise self._error(name, what)
        label = text if is_name else ""
        (self._cls if suffix == ".cls" else self._txt)[stem] = self._known.setdefault(label, label)

    def columns(
        self, images: Sequence[str]
    ) -> tuple[CategoricalColumn, CategoricalColumn, CategoricalColumn]:
        """Return label, split and group of images, empty texts where no file gives them.

        Parameters
        ----------
        images : sequence of str
            Names of the images.

        Raises
        ------
        ImagesTableError
            A file beside an image is not JSON or holds no label, or two images share one file.
        """
        if not (self._cls or self._txt or self._json or self._problems):
            blank = CategoricalColumn.blank(len(images))
            return blank, blank, blank
        named = any(self._cls.values()) or any(label for label, _, _ in self._json.values())
        texts = {} if named else self._txt
        if not all(texts.get(self._key_of(image, texts)) for image in images):
            texts = {}
        self._example = next(iter(texts.values()), "")
        columns = (CategoricalColumn(), CategoricalColumn(), CategoricalColumn())
        for some in in_blocks(self._row(self._key_of(image, texts), texts) for image in images):
            for column, values in zip(columns, zip(*some, strict=True), strict=True):
                column.extend(values)
        if not all(column.is_blank for column in columns):
            self._require_one_image_each(images, texts)
        return columns

    def remarks(self) -> tuple[str, ...]:
        """Return what is not used, and texts that were taken as labels, one sentence each.

        Raises
        ------
        ImagesTableError
            No file tells splits, but a key that is not used does.
        """
        unused = [(key, texts) for key, texts in self._values.items() if key not in self._used]
        remarks = note_unused(self._archive, "JSON key", unused, has_splits="split" in self._values)
        if self._no_objects:
            hold = format_count(self._no_objects, "JSON file holds", "JSON files hold")
            remarks = (*remarks, f"{hold} no object, such as {self._no_object!r}: not used")
        if self._example:
            remarks = (*remarks, f"labels are the texts in .txt files, such as {self._example!r}")
        return remarks

    def _row(self, key: str, texts: dict[str, str]) -> tuple[str, str, str]:
        if problem := self._problems.get(key):
            raise ImagesTableError(problem)
        label, split, group = self._json.get(key, ("", "", ""))
        return self._cls.get(key) or label or texts.get(key, ""), split, group

    def _key_of(self, image: str, texts: dict[str, str]) -> str:
        """Return an image's name without its suffix, or without all after its first dot.

        The latter is how WebDataset finds the files of a sample.
        """
        stem = posixpath.splitext(image)[0]
        if stem in self._cls or stem in self._json or stem in texts or stem in self._problems:
            return stem
        folder, _, base = stem.rpartition("/")
        return posixpath.join(folder, base.partition(".")[0])

    def _require_one_image_each(self, images: Sequence[str], texts: dict[str, str]) -> None:
        def keys() -> Iterator[str]:
            return (self._key_of(image, texts) for image in images)

        for first, second, key in find_repeats(keys, len(images)):
            shared = key in self._cls or key in self._json or key in texts
            if shared and images[first] != images[second]:
                raise ImagesTableError(
                    f"{self._archive}: {images[first]!r} and {images[second]!r} share one label: a "
                    "sample is one image: leave the other out of the archive, or rename it"
                )

    def _parse_json(self, name: str, data: bytes) -> tuple[str, str, str]:
        if len(data) > _MOST_JSON:
            raise self._error(name, f"more than {_MOST_JSON} bytes of a JSON for one image")
        try:
            value = json.loads(data)
        except (ValueError, RecursionError) as error:
            raise self._error(name, "is not JSON") from error
        if not isinstance(value, dict):
            self._no_objects += 1
            self._no_object = self._no_object or name
            return "", "", ""
        fields = {str(key).strip().lower(): item for key, item in value.items()}
        named = next((key for key in _LABEL_KEYS if fields.get(key) is not None), "")
        label = fields.get(named, "")
        self._used.add(named)
        for key, item in fields.items():
            if key in self._values or len(self._values) < _MOST_KEYS:
                texts = self._values.setdefault(key, set())
                if len(texts) <= _MOST_VALUES:
                    texts.add(item if isinstance(item, str) else "")
        return (
            self._label(name, label),
            self._text(name, "split", fields.get("split")),
            self._text(name, "group", fields.get("group")),
        )

    def _label(self, name: str, value: object) -> str:
        if isinstance(value, list):
            return SEPARATOR.join(filter(None, (self._text(name, "label", one) for one in value)))
        return self._text(name, "label", value)

    def _text(self, name: str, key: str, value: object) -> str:
        if value is None:
            return ""
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        text = str(value).strip()
        if not isinstance(value, str | int) or isinstance(value, bool) or not is_storable(text):
            what = f"its {key} is {text[:40]!r}, neither a text nor a whole number"
            raise self._error(name, what)
        return text

    def _error(self, name: str, what: str) -> ImagesTableError:
        return ImagesTableError(f"{self._archive}: {name!r}: {what}")
