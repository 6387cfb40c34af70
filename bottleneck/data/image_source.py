"""ImageSource: a table of images and their bytes, independent of how they are stored."""

from typing import Protocol, Self

from bottleneck.data.table.image_table import ImageTable


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


class ImageSource(ImageReader, Protocol):
    """A table of images, and the bytes of each of them. Sources can be pickled.

    Examples
    --------
    >>> from bottleneck.data import open_images
    >>> images = open_images("data/digits")
    >>> images.read(0)[1:4], images.path(0)
    (b'PNG', 'data/digits/test/5/0015.png')
    >>> images.missing_here()
    ''
    """

    def path(self, row: int) -> str:
        """Return a name by which a user can find an image, to be used in messages."""
        ...

    def with_table(self, table: ImageTable) -> Self:
        """Return the source of the same images, numbered by the rows of another table.

        A cache keeps the row numbers of its images: after an update they differ from those of the
        source that the update was made from. Images are identified by their paths.
        """
        ...

    def missing_here(self) -> str:
        """Return the path of something that this process cannot see; empty if it sees the images.

        Workers on other machines call this before a run.
        """
        ...
