"""Pictures: whole or not at all, in the format of their suffix."""

from pathlib import Path

import pytest
from matplotlib.figure import Figure

from bottleneck.errors import InvalidOptionError
from bottleneck.fitting.plotting.picture import output_figure, require_picture


def write(path: Path) -> Path:
    output_figure(Figure(), path)
    return path


def test_without_a_file_the_figure_is_returned(tmp_path: Path) -> None:
    figure = Figure()
    assert output_figure(figure, None) is figure
    assert output_figure(figure, str(tmp_path / "b.svg")) is None
    assert "<svg" in (tmp_path / "b.svg").read_text()


@pytest.mark.parametrize("name", ["b", "b.jpg", "b.svg.gz", "svg", ".svg"])
def test_another_suffix_is_refused(tmp_path: Path, name: str) -> None:
    for refuse in (write, require_picture):
        with pytest.raises(InvalidOptionError, match=r"`plot=.* \.svg, \.png, \.pdf"):
            refuse(tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_a_figure_that_fails_leaves_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "b.svg"
    path.write_text("before")

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Figure, "savefig", full)
    with pytest.raises(OSError, match="No space"):
        write(path)
    assert [file.name for file in tmp_path.iterdir()] == ["b.svg"]
    assert path.read_text() == "before"
