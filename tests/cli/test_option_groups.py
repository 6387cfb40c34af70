import re
from typing import Any

import click
import pytest
from click.testing import CliRunner

from bottleneck.cli import main
from bottleneck.cli.main import COMMANDS
from bottleneck.cli.option_groups import Command, option_group

_size = option_group("Size", click.option("--width"), click.option("--height"))


@click.command(cls=Command)
@_size
@click.option("-o", "--out", help="A file.")
@option_group("Colour", click.option("--hue", required=True))
@option_group("Size", click.option("--depth"))
@click.argument("picture")
def paint(**options: Any) -> None:
    """Paint."""
    click.echo(sorted(name for name, value in options.items() if value is not None))


def sections(text: str) -> dict[str, list[str]]:
    """The options that a help text shows, by the heading above them."""
    found: dict[str, list[str]] = {}
    for line in text[text.index("Options:") :].splitlines():  # a line above may begin with --
        if re.fullmatch(r"\w.*:", line):
            found[line[:-1]] = []
        elif option := re.match(r"  (?:-\w, )?(--[\w-]+)", line):
            found[list(found)[-1]].append(option[1])
    return found


def test_options_are_shown_by_group_and_those_in_no_group_first() -> None:
    text = CliRunner().invoke(paint, ["--help"]).output
    assert text.count("PICTURE") == 1  # in the usage: an argument is no option
    assert sections(text) == {
        "Options": ["--out", "--help"],
        "Size": ["--width", "--height", "--depth"],
        "Colour": ["--hue"],
    }


def test_groups_are_options_like_others() -> None:
    run = CliRunner().invoke
    assert run(paint, ["a", "--hue", "1", "--depth", "2"]).output == "['depth', 'hue', 'picture']\n"
    assert "Missing option '--hue'" in run(paint, ["a"]).output


def test_an_option_of_two_commands_is_in_the_group_of_each() -> None:
    shared = click.option("--seed")

    @click.command(cls=Command)
    @option_group("Here", shared)
    def here() -> None: ...

    @click.command(cls=Command)
    @option_group("There", shared)
    def there() -> None: ...

    for command, heading in ((here, "Here"), (there, "There")):
        assert sections(CliRunner().invoke(command, ["--help"]).output)[heading] == ["--seed"]


@pytest.mark.parametrize("name", COMMANDS)
def test_help_shows_each_option_of_a_command_once(name: str) -> None:
    text = CliRunner().invoke(main, [name, "--help"]).output
    command = main.get_command(click.Context(main), name)
    assert command
    shown = [option for options in sections(text).values() for option in options]
    options = (option for option in command.params if isinstance(option, click.Option))
    names = (next(text for text in each.opts if text.startswith("--")) for each in options)
    assert sorted(shown) == sorted([*names, "--help"])
