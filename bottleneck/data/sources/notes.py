"""SourceNotes: what a source found beside its images."""

import os
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Self

from bottleneck.data.sources.container_names import container_kind
from bottleneck.runtime import format_count

_QUIET = frozenset(("thumbs.db", "desktop.ini"))  # an operating system leaves them, not a user
_MOST_SUFFIX = 8  # characters
_MOST_KINDS = 6  # that are named, those of the most files first

# Files that are found beside images and are none, as are files that hold many images: an archive
# beside photographs is not opened. Every other kind may be an image.
_TEXTS = (".txt", ".md", ".rst", ".rtf", ".pdf", ".tex", ".bib", ".doc", ".docx", ".log")
_TABLES = (".csv", ".tsv", ".json", ".jsonl", ".xml", ".xls", ".xlsx", ".ods")
_ARRAYS = (".npy", ".mat", ".pkl", ".db", ".sqlite")
_CODE = (".py", ".ipynb", ".m", ".sh", ".js", ".css", ".htm", ".html", ".url", ".lnk", ".lock")
_SETTINGS = (".ini", ".cfg", ".conf", ".toml", ".yaml", ".yml")
_ARCHIVES = (".zip", ".gz", ".7z", ".rar", ".md5", ".sha256", ".torrent")
_DOCUMENTS = frozenset((*_TEXTS, *_TABLES, *_ARRAYS, *_CODE, *_SETTINGS, *_ARCHIVES))
_DOCUMENT_NAMES = frozenset(("authors", "copying", "licence", "license", "notice", "readme"))


@dataclass(frozen=True)
class SourceNotes:
    """What a source found beside its images.

    Attributes
    ----------
    passed_over : mapping of str to int
        Number of files that are not read, by suffix in lower case; ``""`` stands for all files
        without a usual suffix.
    unread_images : int
        How many of these may be images: all but documents and data such as ``.txt``.
    without_images : mapping of str to int
        Class folders without an image: how many files in each were passed over.
    remarks : tuple of str
        What was understood in another way than it is written, one sentence each.

    Examples
    --------
    >>> SourceNotes(passed_over={".heic": 2, ".txt": 1}, unread_images=2).passed_over_text()
    '3 files of kinds that are not read: 2 .heic, 1 .txt'
    """

    passed_over: Mapping[str, int] = field(default_factory=dict)
    unread_images: int = 0
    without_images: Mapping[str, int] = field(default_factory=dict)
    remarks: tuple[str, ...] = ()

    @classmethod
    def merge(cls, notes: Iterable[Self]) -> Self:
        """Return the notes of several sources as one."""
        every = list(notes)
        passed_over: Counter[str] = Counter()
        without_images: dict[str, int] = {}
        for item in every:
            passed_over.update(item.passed_over)
            without_images.update(item.without_images)
        return cls(
            passed_over=dict(passed_over.most_common()),
            unread_images=sum(item.unread_images for item in every),
            without_images=without_images,
            remarks=tuple(dict.fromkeys(text for item in every for text in item.remarks)),
        )

    def with_remarks(self, remarks: Iterable[str]) -> Self:
        """Return these notes with further remarks, each once."""
        return replace(self, remarks=tuple(dict.fromkeys((*self.remarks, *remarks))))

    @property
    def lost_images(self) -> bool:
        """Whether something that may be an image was passed over."""
        return bool(self.unread_images or any(self.without_images.values()))

    def passed_over_text(self) -> str:
        """Return how many files were passed over, by suffix; empty if there are none."""
        total = sum(self.passed_over.values())
        if not total:
            return ""
        kinds = sorted(self.passed_over.items(), key=lambda kind: (-kind[1], kind[0]))
        first, others = kinds[:_MOST_KINDS], kinds[_MOST_KINDS:]
        named = [f"{count} {suffix or 'without a usual suffix'}" for suffix, count in first]
        rest = sum(count for _, count in others)
        files = format_count(total, "file of a kind that is", "files of kinds that are")
        return f"{files} not read: {', '.join([*named, *([f'{rest} others'] if rest else [])])}"


class PassedOver:
    """Count the files below a folder that are not read, by the class folder that they are in."""

    def __init__(self) -> None:
        self.in_folder: Counter[str] = Counter()
        self._kinds: Counter[str] = Counter()
        self._unread_images = 0

    def add(self, name: str, folder: str) -> None:
        """Count a file.

        Parameters
        ----------
        name : str
            Without its folders. Files that an operating system leaves are not counted.
        folder : str
            Its class folder; empty if it is in none.
        """
        stem, suffix = os.path.splitext(name.lower())  # noqa: PTH122  (millions of names)
        if stem + suffix in _QUIET:
            return
        if not (1 < len(suffix) <= _MOST_SUFFIX and suffix[1:].isalnum()) or suffix[1:].isdigit():
            suffix = ""  # numbers are no kinds: there may be one for each file
        self._kinds[suffix] += 1
        self.in_folder[folder] += 1
        self._unread_images += not (
            suffix in _DOCUMENTS or stem in _DOCUMENT_NAMES or container_kind(name)
        )

    def notes(self, without_images: Iterable[str], remarks: tuple[str, ...] = ()) -> SourceNotes:
        """Return what was counted.

        Parameters
        ----------
        without_images : iterable of str
            Class folders without an image.
        remarks : tuple of str
            What else there is to say.
        """
        return SourceNotes(
            passed_over=dict(self._kinds.most_common()),
            unread_images=self._unread_images,
            without_images={folder: self.in_folder[folder] for folder in without_images},
            remarks=remarks,
        )
