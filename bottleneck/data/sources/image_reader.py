"""ImageReader: a table of images and their bytes, the part of a source that all kinds have."""

from typing import Protocol

from bottleneck.data.table import ImageTable


class ImageReader(Protocol):
    """A table of images, and the bytes of each of them. Threads may read at the same time."""

    @property
    def table(self) -> ImageTable:
        """The images; its rows number them."""
        ...

    def read(self, row: int) -> bytes:
        """Return the bytes of an encoded image, such as a JPEG.

        Raises
        ------
        ImageError
            This image cannot be read.
        OSError
            The storage is out of reach: no image can be read.
        """
        ...
