"""RemainingImages: the images of a cache, of which those that were removed are not read."""

from dataclasses import dataclass, replace
from typing import Self

from bottleneck.cache import REMOVED
from bottleneck.data import ImageSource, ImageTable
from bottleneck.errors import ImageError


@dataclass(frozen=True)
class RemainingImages:
    """The images of a cache, of which those that were removed are rejected as such.

    A removed image keeps its row, and the shard of that row may have to be made again.

    Attributes
    ----------
    source : ImageSource
        Where the images are.
    removed_rows : frozenset of int
        Rows of the cache whose images the source does not name any more.
    """

    source: ImageSource
    removed_rows: frozenset[int]

    @property
    def table(self) -> ImageTable:
        """The images; its rows number them."""
        return self.source.table

    def read(self, row: int) -> bytes:
        """Return the bytes of an encoded image; see `bottleneck.data.image_source.ImageSource`."""
        if row in self.removed_rows:  # the file may still exist, if a CSV leaves it out
            raise ImageError(REMOVED)
        return self.source.read(row)

    def path(self, row: int) -> str:
        """Return a name by which a user can find an image, to be used in messages."""
        return self.source.path(row)

    def with_table(self, table: ImageTable) -> Self:
        """Return the source of the same images with the cache's table as it is on the disk now."""
        return replace(self, source=self.source.with_table(table))

    def missing_here(self) -> str:
        """Return the path of something that this process cannot see; empty if it sees all."""
        return self.source.missing_here()
