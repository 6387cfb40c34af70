"""Texts of the library in the command line's own spelling.

The library names its parameters as Python has them, in backticks: `` `cv=0` ``, `` `layers` ``,
`` `bottleneck.extract` ``. Here, and nowhere else, these become ``--cv 0``, ``--layer`` and
``bottleneck extract``.
"""

import re
from collections.abc import Iterable, Mapping

import click

_PARAMETER = re.compile(r"`(\w+)(?:=([^`]*))?`")
_QUOTES = "'\""
_EMPTY = ("()", "[]", "None")  # the option was not given
_VERB = re.compile(r"`bottleneck\.repair`|`bottleneck\.(\w+)`")


def option_names(commands: Iterable[click.Command]) -> dict[str, str]:
    """Map each Python parameter of some commands to the option that sets it.

    A switch has two names, ``--relu/--no-relu``.

    Parameters
    ----------
    commands : iterable of click.Command
        The first one that has a parameter decides.
    """
    names: dict[str, str] = {}
    for command in commands:
        for parameter in command.params:
            if isinstance(parameter, click.Option) and parameter.name:
                both = [parameter.opts[0], *parameter.secondary_opts[:1]]
                names.setdefault(parameter.name, "/".join(both))
            elif parameter.name:
                metavar = str(parameter.metavar or parameter.name).upper()
                # A pattern such as [OPTION]... is no name: the value alone is shown.
                names.setdefault(
                    parameter.name, metavar if metavar.replace("|", "").isalpha() else ""
                )
    return names


def in_options(text: str, options: Mapping[str, str]) -> str:
    """Return a text of the library with options in place of Python's parameters.

    Parameters
    ----------
    text : str
        With parameters, and verbs of the package, in backticks.
    options : mapping of str to str
        From `option_names`.

    Examples
    --------
    >>> from bottleneck.errors import InvalidOptionError
    >>> in_options(str(InvalidOptionError("cv", 1, "at least 2 folds")), {"cv": "--cv"})
    '--cv 1: must be at least 2 folds'
    >>> in_options("extract with `relu=False`", {"relu": "--relu/--no-relu"})
    'extract with --no-relu'
    """

    def option(found: re.Match[str]) -> str:
        name, value = found[1], found[2]
        if name not in options:
            return found[0]
        if not options[name]:
            return value or name
        on, _, off = options[name].partition("/")
        if off and value == "False":
            return off
        if value in _EMPTY:
            return f"no {on}"
        if value is None or value == "True":
            return on
        return f"{on} {value.strip(_QUOTES)}"

    def verb(found: re.Match[str]) -> str:
        return f"`bottleneck {found[1]}`" if found[1] else "`bottleneck verify --repair IMAGES`"

    return _PARAMETER.sub(option, _VERB.sub(verb, text))
