"""Pictures of images, inlined as far as a limit on bytes allows."""

import base64
from collections.abc import Iterable
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from bottleneck.cache import Cache, image_key
from bottleneck.data import ImageSource, make_thumbnail
from bottleneck.errors import ImageError
from bottleneck.reporting.html import Html, element
from bottleneck.runtime import format_count, format_size

_SIDE = 128  # pixels of the longer side


class Thumbnails:
    """Makes pictures of a cache's images, and counts their bytes.

    Parameters
    ----------
    cache : Cache
    layer : str
        One of its layers, of whose codes the page is.
    source : ImageSource or None
        Its images; without them a picture is its caption alone.
    max_bytes : int
        Most bytes of all pictures in the page.

    Attributes
    ----------
    wanted, shown : int
        Pictures that were asked for, and those that are there.
    bytes : int
        Of those, as they are in the page.
    unreadable : dict of str to str
        Images that could not be read any more, by path, and why.
    lost : int
        Pictures of these that were asked for: an image may be in several parts of a page.
    """

    def __init__(
        self, cache: Cache, layer: str, source: ImageSource | None, max_bytes: int
    ) -> None:
        self._cache, self._layer = cache, layer
        self._images = cache.images
        self._limits = cache.spec.transform.range
        self._source = None if source is None else source.with_table(cache.images)
        self._made: dict[int, str] = {}
        self.max_bytes = max_bytes
        self.wanted = self.shown = self.bytes = self.lost = 0
        self.unreadable: dict[str, str] = {}

    def __str__(self) -> str:
        """Say which pictures are in the page, and why others are not, in one line."""
        if self._source is None:
            return "no thumbnails: without its images (`images`) a report has their names alone"
        size = f"{format_size(self.bytes)} of at most {format_size(self.max_bytes)}"
        parts = [f"{self.shown} of {self.wanted} thumbnails shown, {size}"]
        if self.unreadable:
            path, why = next(iter(self.unreadable.items()))
            images = format_count(len(self.unreadable), "image that was", "images that were")
            parts.append(
                f"{self.lost} would be of {images} not found among those given, such as {path}: "
                f"{why}"
            )
        return "; ".join(parts)

    def picture(self, row: int, *caption: object, alt: str = "") -> Html:
        """Return a figure of an image: its picture, caption and path.

        Parameters
        ----------
        row : int
            Row of the cache.
        *caption
            Above its name.
        alt : str
            Description of the picture, for screen readers.
        """
        path = self._images.path[row]
        uri = self._uri(row)
        image = uri and element("img", src=uri, alt=f"{path}: {alt}", decoding="async")
        name = element("span", path, class_="path")
        return element("figure", image or None, element("figcaption", *caption, name))

    def _uri(self, row: int) -> str:
        """Return a picture as a data URI; empty if there is none or no bytes are left."""
        self.wanted += 1
        if row not in self._made:
            self._made[row] = self._make(row)
        uri = self._made[row]
        self.lost += self._images.path[row] in self.unreadable
        if not uri or self.bytes + len(uri) > self.max_bytes:
            return ""
        self.shown += 1
        self.bytes += len(uri)
        return uri

    def _make(self, row: int) -> str:
        # Once the limit on bytes is reached, no more pictures are made.
        if self._source is None or self.bytes >= self.max_bytes:
            return ""
        try:
            data = self._source.read(row)
            self._require_encoded(row, data)
            made = make_thumbnail(data, _SIDE, self._limits)
        except ImageError as error:
            self.unreadable[self._images.path[row]] = str(error)
            return ""
        return f"data:image/webp;base64,{base64.b64encode(made).decode('ascii')}"

    def _require_encoded(self, row: int, data: bytes) -> None:
        """Refuse another image under the same name: what the page says is not said of it."""
        keys, rows = self._keys
        place = int(np.searchsorted(rows, row))
        if place < len(rows) and rows[place] == row and keys[place] != image_key(data):
            raise ImageError("its bytes are not those that were encoded")

    @cached_property
    def _keys(self) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
        return self._cache.image_keys(self._layer)


def pictures(figures: Iterable[Html]) -> Html:
    """Return figures as a list that fills the width there is."""
    items = [element("li", figure) for figure in figures]
    return element("ul", *items, class_="pictures", role="list")
