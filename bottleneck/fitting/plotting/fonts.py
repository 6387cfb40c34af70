"""Choose fonts that have the characters of a figure: names of classes are of any script."""

import logging
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_BOXES = "Last Resort High-Efficiency"  # matplotlib's own, which has a box for every character
_MAX_SHOWN = 20  # characters


def choose_fonts(figure: "Figure") -> None:
    """Give texts with characters that matplotlib's font lacks other fonts for these.

    One line of the log says which characters no installed font has: they are drawn as boxes.

    Parameters
    ----------
    figure : matplotlib.figure.Figure
        Its texts keep their font for all other characters.
    """
    from matplotlib import font_manager
    from matplotlib.text import Text

    def characters(path: str) -> set[str]:
        return set(map(chr, font_manager.get_font(path).get_charmap()))

    texts = figure.findobj(Text)
    usual = font_manager.FontProperties()
    missing = {character for text in texts for character in text.get_text()}
    missing -= characters(font_manager.findfont(usual)) | {"\n"}
    if not missing:
        return
    families = list(usual.get_family())
    # Of a family's faces the last is kept: a regular one, which has the most characters.
    faces = sorted(
        font_manager.fontManager.ttflist,
        key=lambda face: (face.style == "normal") + (face.weight in (400, "normal")),
    )
    installed = {face.name: face.fname for face in faces}
    for name in sorted(installed.keys() - {_BOXES}, key=lambda name: ("Sans" not in name, name)):
        if found := missing & characters(installed[name]):
            families.append(name)
            missing -= found
    for text in texts:
        text.set_fontfamily(families)
    if missing:
        shown = "".join(sorted(missing))[:_MAX_SHOWN]
        logging.getLogger(__name__).warning(
            "no installed font has %s: boxes are drawn in their place; install one of that script",
            shown,
        )
