"""Messages of the library in the spelling of the command line."""

import re

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bottleneck.cli import main
from bottleneck.cli.main import COMMANDS
from bottleneck.cli.spelling import in_options, option_names
from bottleneck.errors import InvalidOptionError

OPTIONS = {
    "cv": "--cv",
    "layers": "--layer",
    "as_json": "--json",
    "cache": "CACHE",
    "words": "",
} | {"relu": "--relu/--no-relu"}

names = st.from_regex(r"[a-z_]{1,12}", fullmatch=True)
values = st.text(st.characters(exclude_characters="`"), max_size=20)


@given(names.filter(lambda name: name not in OPTIONS), st.none() | values)
def test_unknown_names_are_left_alone(name: str, value: str | None) -> None:
    text = f"see `{name}`" if value is None else f"see `{name}={value}`"
    assert in_options(text, OPTIONS) == text


@given(st.text(st.characters(exclude_characters="`")))
def test_a_text_without_backticks_is_left_alone(text: str) -> None:
    assert in_options(text, OPTIONS) == text


@given(st.sampled_from(["cv", "layers"]), st.integers() | st.floats(allow_nan=False))
def test_a_value_follows_its_option(name: str, value: float) -> None:
    error = InvalidOptionError(name, value, "another")
    assert in_options(str(error), OPTIONS) == f"{OPTIONS[name]} {value}: must be another"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("give `layers`", "give --layer"),
        ("give `as_json=True`", "give --json"),
        ("give `relu=True`, not `relu=False`", "give --relu, not --no-relu"),
        ("`relu`", "--relu"),
        ("`layers=()`: must be some", "no --layer: must be some"),
        ("`layers=[]`: must be some", "no --layer: must be some"),
        ("`layers=None`: must be one", "no --layer: must be one"),
        ("`cache='a b'`", "CACHE a b"),
        ("`words='-x y'`", "'-x y'"),
        ("`bottleneck.extract` makes one", "`bottleneck extract` makes one"),
        ("`bottleneck.repair` mends it", "`bottleneck verify --repair IMAGES` mends it"),
        ("`pip install dask`", "`pip install dask`"),
    ],
)
def test_parameters_and_verbs(text: str, expected: str) -> None:
    assert in_options(text, OPTIONS) == expected


def test_every_option_of_the_program_has_a_name() -> None:
    context = click.Context(main)
    commands = [main.get_command(context, name) for name in COMMANDS]
    for option in option_names(command for command in commands if command).values():
        assert re.fullmatch(r"|-{1,2}[a-z][a-z-]*(/--[a-z-]+)?|[A-Z|_]+", option), option
