"""Fonts for the characters of a figure, of those that matplotlib brings."""

import io
from pathlib import Path

import pytest
from matplotlib import font_manager
from matplotlib.figure import Figure

from bottleneck.fitting.plotting.fonts import choose_fonts
from bottleneck.fitting.plotting.picture import output_figure

OF_STIX = chr(0x1D81)  # a letter that DejaVu Sans lacks
OF_NONE = chr(0x732B)  # a cat


@pytest.fixture(autouse=True)
def few_fonts(monkeypatch: pytest.MonkeyPatch) -> None:
    names = ("DejaVu Sans", "STIXGeneral", "Last Resort High-Efficiency")
    fonts = [font for font in font_manager.fontManager.ttflist if font.name in names]
    fonts.sort(key=lambda font: font.style == "italic")  # the order on a disk is any
    monkeypatch.setattr(font_manager.fontManager, "ttflist", fonts)


def test_a_font_that_has_the_characters_is_added(capsys: pytest.CaptureFixture[str]) -> None:
    figure = Figure()
    text = figure.text(0, 0, f"a{OF_STIX}")
    usual = list(text.get_fontfamily())
    choose_fonts(figure)
    assert text.get_fontfamily() == [*usual, "STIXGeneral"]
    figure.savefig(io.BytesIO())  # a missing glyph is a warning, and here an error
    assert not capsys.readouterr().err


def test_usual_texts_keep_their_font() -> None:
    figure = Figure()
    text = figure.text(0, 0, "bée\nant")
    usual = list(text.get_fontfamily())
    choose_fonts(figure)
    assert text.get_fontfamily() == usual


def test_characters_of_no_font_are_said_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    figure = Figure()
    for _ in range(2):
        figure.text(0, 0, OF_NONE)
    output_figure(figure, tmp_path / "a.png")
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"no installed font has {OF_NONE}: boxes are drawn")
