"""Write figures as pictures."""

import io
import warnings
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

from bottleneck.errors import InvalidOptionError
from bottleneck.fitting.plotting.fonts import choose_fonts
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


def output_figure(figure: "Figure", path: str | PathLike[str] | None) -> "Figure | None":
    """Write a figure into a file, atomically; return it where there is none.

    Names of classes in any script are drawn where an installed font has it.

    Parameters
    ----------
    figure : matplotlib.figure.Figure
    path : str or PathLike, optional
        Its suffix, one of `PICTURES`, decides the format.

    Raises
    ------
    InvalidOptionError
        The suffix is not in `PICTURES`.
    OSError
        The file cannot be written.
    """
    choose_fonts(figure)
    if path is None:
        return figure
    file = Path(path)
    require_picture(file)
    picture = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from")  # it was said
        figure.savefig(picture, format=file.suffix[1:].lower(), dpi=200)
    with atomic_write(file) as temporary:
        temporary.write_bytes(picture.getvalue())
    return None
