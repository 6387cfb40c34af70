r"""Find the files that a CSV names in another way: with ``\``, with blanks, or without a suffix."""

import dataclasses
from collections import Counter
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from bottleneck.data.decoding.formats import image_suffixes
from bottleneck.data.sources.files.file_source import FileSource
from bottleneck.data.sources.files.folder import is_image_name
from bottleneck.data.table.blocks import in_blocks
from bottleneck.data.table.image_table import ImageTable
from bottleneck.data.table.string_column import StringColumn
from bottleneck.runtime import format_count

_COMMON = (".jpg", ".jpeg", ".png")
_MAX_FAILED_SEARCHES = 1000  # in a row for names without a suffix; then the others are not searched


def find_respelled(source: FileSource) -> FileSource:
    r"""Return the source with the paths under which missing files exist.

    A path that does not exist as it is written is tried with ``/`` in place of ``\`` and without
    blanks around it, and if it has no suffix of an image, with one. Where no file is found, the
    path keeps ``/`` and no blanks.

    Examples
    --------
    >>> found = find_respelled(FileSource.from_paths(["data\\digits\\test\\5\\0015 "]))
    >>> found.path(0), found.notes.remarks
    ('data/digits/test/5/0015.png',
     ('1 path found with / in place of \\ or without blanks around, and with the suffix .png',))
    """
    table = source.table
    if table.exists.all():
        return source
    if all(map(_usual, in_blocks(table.path))):
        return source
    search = _Search(source)
    size, mtime = table.size.copy(), table.mtime_ns.copy()
    path = StringColumn(search.names(size, mtime))
    if path == table.path:
        return source
    found = ImageTable(path, table.label, table.split, table.group, size, mtime)
    notes = source.notes.with_remarks(search.remarks())
    return dataclasses.replace(source, table=found, notes=notes)


class _Search:
    """One pass over the paths of a source, which counts how files were found."""

    def __init__(self, source: FileSource) -> None:
        self._source = source
        self._found: Counter[tuple[bool, str]] = Counter()  # respelled, suffix that was added
        self._failed = 0
        rest = sorted(image_suffixes().difference(_COMMON))
        both = [case for suffix in (*_COMMON, *rest) for case in (suffix, suffix.upper())]
        self._suffixes = both

    def names(self, size: NDArray[np.int64], mtime: NDArray[np.int64]) -> Iterator[str]:
        """Yield the path of each row, and note size and time of those that are found."""
        for row, name in enumerate(self._source.table.path):
            if size[row] >= 0:
                yield name
                continue
            plain = _plain(name)
            for candidate in self._candidates(name, plain):
                status = self._source.stat(candidate)
                if status[0] >= 0:
                    size[row], mtime[row] = status
                    self._note(name, plain, candidate)
                    yield candidate
                    break
            else:
                self._failed += not is_image_name(plain)
                yield plain

    def remarks(self) -> tuple[str, ...]:
        """Return how many files were found, and how."""
        return tuple(
            f"{format_count(count, 'path')} found {_how(respelled, suffix)}"
            for (respelled, suffix), count in self._found.most_common()
        )

    def _candidates(self, name: str, plain: str) -> Iterator[str]:
        if plain != name:
            yield plain
        if not is_image_name(plain) and self._failed < _MAX_FAILED_SEARCHES:
            for suffix in self._suffixes:
                yield plain + suffix

    def _note(self, name: str, plain: str, candidate: str) -> None:
        suffix = candidate.removeprefix(plain)
        self._found[plain != name, suffix] += 1
        if suffix:  # the others are likely to have the same
            self._failed = 0
            self._suffixes.remove(suffix)
            self._suffixes.insert(0, suffix)


def _how(respelled: bool, suffix: str) -> str:
    ways = ["with / in place of \\ or without blanks around"] if respelled else []
    return ", and ".join([*ways, *([f"with the suffix {suffix}"] if suffix else [])])


def _usual(block: list[str]) -> bool:
    """Return whether no path of a block can be spelled in another way. Most blocks are so."""
    text = "\n".join(block)
    if "\\" in text or " " in text or "\t" in text:
        return all(name == _plain(name) and is_image_name(name) for name in block)
    return all(is_image_name(f"x{end}") for end in {name[name.rfind(".") :] for name in block})


def _plain(name: str) -> str:
    """Return a path with ``/`` and without blanks around it."""
    return (name.strip() or name).replace("\\", "/")
