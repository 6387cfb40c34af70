"""SourceSummary: what was found in a source of images, in one or a few lines."""

import dataclasses
import os
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from bottleneck.data.image_source import ImageSource
from bottleneck.data.images import open_images
from bottleneck.data.labels import NO_LABEL, SEPARATOR, is_multilabel, name_form
from bottleneck.data.sources.notes import SourceNotes
from bottleneck.data.split_names import SPLITS
from bottleneck.data.table.image_table import ImageTable
from bottleneck.runtime import PreformattedText, escape_unprintable, format_count

# Written by programs for a missing label.
_MISSING = frozenset(("nan", "null", "none", "n/a", "na", "#n/a", "<na>"))
_MOST_NAMED = 6  # splits, and class folders without an image


@dataclass(frozen=True)
class SourceSummary(PreformattedText):
    """What was found in a source of images. `str` gives one line, and one for each remark.

    Attributes
    ----------
    images : int
        Images that exist.
    missing : int
        Images that a list names and that do not exist.
    classes : int
        Distinct names in the labels.
    unlabelled : int
        Images without a label.
    splits : mapping of str to int
        Images of each split; ``""`` for images in no split.
    notes : SourceNotes
        What was found beside the images, and names that were translated.

    Examples
    --------
    >>> notes = SourceNotes(passed_over={".heic": 3}, unread_images=3)
    >>> print(SourceSummary(1917, 0, 4, 0, {"train": 1295, "test": 622}, notes))
    1917 images, 4 classes, train 1295, test 622; 3 files of kinds that are not read: 3 .heic
    """

    images: int
    missing: int
    classes: int
    unlabelled: int
    splits: Mapping[str, int]
    notes: SourceNotes

    @classmethod
    def from_table(cls, table: ImageTable, notes: SourceNotes = SourceNotes()) -> "SourceSummary":
        """Count the images of a table.

        Parameters
        ----------
        table : ImageTable
        notes : SourceNotes
            What else is known of the source.
        """
        rows = np.flatnonzero(table.exists)
        counts = table.split.take(rows).counts()
        order = sorted(counts, key=lambda name: (_rank(name), name))
        labels = table.label.take(rows).categories
        if is_multilabel(table, rows):
            several = [label.split(SEPARATOR) for label in labels if label != NO_LABEL]
            labels = [name.strip() for names in several for name in names]
            remarks = [*_odd_classes(labels)]
        else:
            remarks = [*_odd_classes(labels), *_combined_labels(labels)]
        return cls(
            images=len(rows),
            missing=len(table) - len(rows),
            classes=len(set(labels) - {""}),
            unlabelled=len(rows) - int(table.has_label[rows].sum()),
            splits={name: counts[name] for name in order},
            notes=notes.with_remarks(remarks),
        )

    @property
    def counts(self) -> str:
        """One line without labels: images, missing images, files that were passed over."""
        passed_over = self.notes.passed_over_text()
        parts = [format_count(self.images, "image"), self._missing_text(), passed_over]
        return "; ".join(filter(None, parts))

    def __str__(self) -> str:
        parts = [format_count(self.images, "image"), self._labels_text(), *self._splits_text()]
        first = ", ".join(filter(None, [*parts, self._missing_text()]))
        if passed_over := self.notes.passed_over_text():
            first = f"{first}; {passed_over}"
        return "\n".join([first, *self.remarks()])

    def remarks(self) -> list[str]:
        """Return remarks on the images, such as names that were translated, one line each."""
        lines = [escape_unprintable(text) for text in self.notes.remarks]
        splits = self.splits.keys() - {""}
        if splits and splits.isdisjoint(SPLITS):
            lines.append(f"no split is called {', '.join(SPLITS[:-1])} or {SPLITS[-1]}")
        elif splits and "train" not in splits:
            lines.append("no split is called train, the one that classifiers are trained on")
        if without := self.notes.without_images:
            shown = [
                escape_unprintable(folder) + (f" ({format_count(count, 'file')})" if count else "")
                for folder, count in list(without.items())[:_MOST_NAMED]
            ]
            more = f", … ({len(without)} in all)" if len(without) > _MOST_NAMED else ""
            lines.append(f"class folders without an image: {', '.join(shown)}{more}")
        return lines

    def to_dict(self) -> dict[str, Any]:
        """Return the summary as plain values."""
        values = dataclasses.asdict(self)
        notes = values.pop("notes")
        return values | {
            "passed_over": notes["passed_over"],
            "without_images": notes["without_images"],
            "remarks": self.remarks(),
        }

    def _labels_text(self) -> str:
        if not self.classes:
            return "no labels"
        classes = format_count(self.classes, "class", "classes")
        return f"{classes}, {self.unlabelled} without a label" if self.unlabelled else classes

    def _missing_text(self) -> str:
        if not self.missing:
            return ""
        return f"{self.missing} that {'does' if self.missing == 1 else 'do'} not exist"

    def _splits_text(self) -> list[str]:
        if not self.splits.keys() - {""}:
            return []
        texts = [f"{_split_text(split)} {count}" for split, count in self.splits.items()]
        if len(texts) > _MOST_NAMED:
            texts = [*texts[:_MOST_NAMED], f"… ({len(texts)} splits)"]
        return texts


def summarize_images(images: str | os.PathLike[str] | ImageSource) -> SourceSummary:
    """Count the images, classes and splits of a source, and say how it was understood.

    Parameters
    ----------
    images : path-like or ImageSource
        A directory or CSV; see `bottleneck.data.images.open_images`. Of a source of one's own, an
        attribute ``notes`` of type `bottleneck.data.SourceNotes` is used if there is one.

    Raises
    ------
    ImagesNotFoundError, ImagesTableError, LabelsError
        There are no images, or their splits are ambiguous.

    Examples
    --------
    >>> print(summarize_images("data/digits"))
    896 images, 5 classes, train 50, test 846
    """
    source = open_images(images)
    return SourceSummary.from_table(source.table, getattr(source, "notes", SourceNotes()))


def _odd_classes(names: Sequence[str]) -> Iterator[str]:
    """Yield a sentence on classes that may be one, and on names that say that there is none."""
    by_form = defaultdict(list)
    for name in dict.fromkeys(names):
        by_form[name_form(name)].append(name)
    alike = [" and ".join(map(repr, same)) for same in by_form.values() if len(same) > 1]
    if alike:
        more = f", … ({len(alike)} in all)" if len(alike) > _MOST_NAMED else ""
        yield (
            "classes that differ in case, blanks or Unicode form alone: "
            f"{', '.join(alike[:_MOST_NAMED])}{more}"
        )
    if missing := [name for name in dict.fromkeys(names) if name.casefold() in _MISSING]:
        what = "is the name of a class" if len(missing) == 1 else "are names of classes"
        yield (f"{', '.join(map(repr, missing))} {what}: where there is no label, leave it empty")


def _combined_labels(labels: Sequence[str]) -> Iterator[str]:
    """Yield a sentence on labels that may be several labels of an image, written another way.

    They are lists in brackets, or names between commas or semicolons that recur in other labels.
    """
    for separator in ",;":
        parts = {
            label: [name.strip(" []'\"") for name in label.split(separator)] for label in labels
        }
        counts = Counter(name for names in parts.values() for name in set(names))
        combined = [label for label in labels if len(parts[label]) > 1]
        are_lists = all(label.startswith("[") and label.endswith("]") for label in combined)
        recur = all(counts[name] > 1 for label in combined for name in parts[label])
        if combined and (are_lists or recur):
            names = escape_unprintable(SEPARATOR.join(parts[combined[0]]))
            yield (
                f"each label is one class, such as {escape_unprintable(repr(combined[0]))}: "
                f"several labels of an image are written {names}"
            )
            return


def _split_text(split: str) -> str:
    if not split:
        return "in no split"
    return split if split in SPLITS else f"split {split!r}"


def _rank(split: str) -> int:
    if split in SPLITS:
        return SPLITS.index(split)
    return len(SPLITS) if split else len(SPLITS) + 1
