"""Series: the codes of one layer for one view of each image, which are one folder of shards."""

from dataclasses import dataclass
from typing import TypeAlias


@dataclass(frozen=True, order=True)
class Series:
    """The codes of one layer for one view of each image.

    Attributes
    ----------
    layer : str
        Name of the layer.
    view : int
        Number of the view; 0 is the image itself.

    Examples
    --------
    >>> str(Series("layer3")), str(Series("layer3", 2))
    ('layer3', 'view 2 of layer3')
    """

    layer: str
    view: int = 0

    @classmethod
    def of(cls, layer: "SeriesLike") -> "Series":
        """Return a series; the name of a layer is that of its plain images.

        Examples
        --------
        >>> Series.of("layer3")
        Series(layer='layer3', view=0)
        """
        return cls(layer) if isinstance(layer, str) else layer

    def __str__(self) -> str:
        return f"view {self.view} of {self.layer}" if self.view else self.layer


SeriesLike: TypeAlias = str | Series
