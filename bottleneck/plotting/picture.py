"""Write figures as pictures."""

import io
from pathlib import Path
from typing import TYPE_CHECKING

from bottleneck.errors import InvalidOptionError
from bottleneck.runtime import atomic_write

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PICTURES = (".svg", ".png", ".pdf")


def require_picture(path: Path) -> None:
    """Refuse a file name whose suffix is not that of a supported picture.

    Raises
    ------
    InvalidOptionError
        The suffix is not in `PICTURES`.

    Examples
    --------
    >>> require_picture(Path("layers.svg"))
    """
    if path.suffix.lower() not in PICTURES:
        raise InvalidOptionError("plot", str(path), f"a name that ends in {', '.join(PICTURES)}")


def save_figure(figure: "Figure", path: Path) -> None:
    """Write a figure into a file, atomically.

    Parameters
    ----------
    figure : matplotlib.figure.Figure
    path : Path
        Its suffix, one of `PICTURES`, decides the format.

    Raises
    ------
    InvalidOptionError
        The suffix is not in `PICTURES`.
    OSError
        The file cannot be written.
    """
    require_picture(path)
    picture = io.BytesIO()
    figure.savefig(picture, format=path.suffix[1:].lower(), dpi=200)
    with atomic_write(path) as temporary:
        temporary.write_bytes(picture.getvalue())
