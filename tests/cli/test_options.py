import importlib

import click
import pytest

from bottleneck.cli.main import COMMANDS
from bottleneck.cli.options import names_option


def _layers_options() -> list[tuple[str, click.Parameter]]:
    modules = {
        name: importlib.import_module(f"bottleneck.cli.commands.{name}") for name in COMMANDS
    }
    commands = {name: getattr(module, name) for name, module in modules.items()}
    return [
        (name, parameter)
        for name, command in commands.items()
        for parameter in command.params
        if parameter.name == "layers"
    ]


@pytest.mark.parametrize(("name", "option"), _layers_options())
def test_layers_are_given_with_commas_or_one_by_one(name: str, option: click.Parameter) -> None:
    context = click.Context(click.Command(name, params=[option]))
    for words in (["a", "b", "c@2x2"], ["a, b", "c@2x2"], ["a,b,c@2x2"]):
        value, _ = option.handle_parse_result(context, {"layers": words}, [])
        assert value == ("a", "b", "c@2x2")


def test_names_that_are_not_given_are_none() -> None:
    @click.command()
    @names_option("--pool", "pools")
    def command(pools: tuple[str, ...] | None) -> None: ...

    assert command.make_context("c", []).params == {"pools": None}
    assert command.make_context("c", ["--pool", "avg,2"]).params == {"pools": ("avg", "2")}
