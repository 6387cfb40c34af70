"""Spell a call as a command line, with the options of its command."""

import shlex
from collections.abc import Iterator, Mapping
from typing import Any

import click


def command_line(ctx: click.Context, verb: str, arguments: Mapping[str, Any]) -> str:
    """Return a command as it is typed.

    Parameters
    ----------
    ctx : click.Context
        Of the running command.
    verb : str
        Name of the command, such as ``"fit"``.
    arguments : mapping of str to object
        By parameter of that command, in the order in which they are typed.
    """
    root = ctx.find_root()
    assert isinstance(root.command, click.Group)
    command = root.command.get_command(root, verb)
    assert command is not None
    parameters = {parameter.name: parameter for parameter in command.params}
    words = ["bottleneck", verb]
    for name, value in arguments.items():
        words += _words(parameters[name], value)
    return shlex.join(words)


def _words(parameter: click.Parameter, value: Any) -> Iterator[str]:
    if isinstance(parameter, click.Argument):
        yield str(value)
    elif isinstance(value, bool):
        yield (parameter.opts if value else parameter.secondary_opts)[0]
    elif getattr(parameter, "multiple", False):
        for one in value:
            yield from (parameter.opts[0], str(one))
    elif isinstance(value, (tuple, list)):
        yield from (parameter.opts[0], ",".join(map(str, value)))
    else:
        yield from (parameter.opts[0], str(value))
