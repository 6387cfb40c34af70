"""JoinedSource: the images of several sources, one after the other."""

from collections.abc import Sequence
from copy import copy
from typing import Self

import numpy as np

from bottleneck.data.image_source import ImageSource
from bottleneck.data.sources.parts import locate
from bottleneck.data.table.image_table import ImageTable, TextColumns
from bottleneck.data.table.string_column import StringColumn
from bottleneck.data.table.text_matching import match_texts
from bottleneck.errors import ImageError


class JoinedSource:
    """The images of several sources, one after the other.

    Parameters
    ----------
    sources : sequence of ImageSource

    Attributes
    ----------
    table : ImageTable
        Its paths are those that `path` of the sources gives. They may be given twice.

    Examples
    --------
    >>> from bottleneck.data.images import open_images
    >>> parts = [open_images("data/digits/test/7"), open_images("data/digits/test/8")]
    >>> joined = JoinedSource(parts)
    >>> len(joined.table), joined.path(169)
    (333, 'data/digits/test/8/0008.png')
    """

    def __init__(self, sources: Sequence[ImageSource]) -> None:
        self._sources = sources
        self._ends = np.cumsum([len(source.table) for source in sources], dtype=np.int64)
        self._all = _concatenate(sources)
        self._row = np.arange(len(self._all))  # in `_all`, of each row of `table`
        self.table = self._all

    def read(self, row: int) -> bytes:
        """Return the bytes of an encoded image; see `bottleneck.data.image_source.ImageSource`."""
        if self._row[row] < 0:
            raise ImageError("cannot be read: it is not among the images any more")
        source, own = self._place(row)
        return source.read(own)

    def path(self, row: int) -> str:
        """Return the name that the image's own source gives, to be used in messages."""
        if self._row[row] < 0:
            return self.table.path[row]
        source, own = self._place(row)
        return source.path(own)

    def with_table(self, table: ImageTable) -> Self:
        """Return the source of the same images, numbered by the rows of another table."""
        source = copy(self)
        source.table, source._row = table, match_texts(table.path, self._all.path)
        return source

    def missing_here(self) -> str:
        """Return a path that this process cannot see, of the first such source; empty if none."""
        return next((missing for source in self._sources if (missing := source.missing_here())), "")

    def _place(self, row: int) -> tuple[ImageSource, int]:
        source, own = locate(self._ends, int(self._row[row]))
        return self._sources[source], own


def _concatenate(sources: Sequence[ImageSource]) -> ImageTable:
    columns = TextColumns.empty()
    for source in sources:
        table = source.table
        path = StringColumn(source.path(row) for row in range(len(table)))
        columns.extend((path, table.label, table.split, table.group))
    sizes = [source.table.size for source in sources]
    times = [source.table.mtime_ns for source in sources]
    return ImageTable(*columns, np.concatenate(sizes), np.concatenate(times))
