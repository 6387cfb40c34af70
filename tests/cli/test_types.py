"""Types of options and arguments."""

from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from bottleneck.cli.types import PATH, GridOfC, Numbers, Range, Task, Views


@pytest.mark.parametrize(
    ("kind", "shown", "typed"),
    [
        (Numbers(), "X,Y,…", ["0.5,1"]),
        (GridOfC(), "auto|X,Y,…", ["auto", "1,2"]),
        (Range(), "LO,HI|auto", ["auto", "0,4095"]),
        (Views(), "N|all", ["all", "3"]),
        (Task(), "auto|all|I/N", ["auto", "all", "0/2"]),
    ],
)
def test_the_help_shows_words_as_they_are_typed(kind: Any, shown: str, typed: list[str]) -> None:
    @click.command()
    @click.option("--value", type=kind)
    def command(value: object) -> None:
        """Take a value."""

    run = CliRunner().invoke
    assert f"--value {shown}\n" in run(command, ["--help"]).output
    assert all(run(command, ["--value", word]).exit_code == 0 for word in typed)


def test_an_empty_path_is_not_the_working_directory() -> None:
    assert PATH.convert("photos", None, None) == Path("photos")
    with pytest.raises(click.UsageError, match="an empty text is no path"):
        PATH.convert("", None, None)
