"""Groups of options: shared by commands, and shown under headings in their help."""

from collections.abc import Callable
from typing import Any

import click

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]

_OTHERS = "Options"  # the heading of those that are in no group
_heading_of: dict[click.Parameter, str] = {}


def option_group(heading: str, *options: Decorator) -> Decorator:
    """Return a decorator that adds options to a command, in the order of its help text.

    Parameters
    ----------
    heading : str
        What the help of the command shows above them. Groups of one heading are shown as one.
    options : decorator
        What `click.option` returns.
    """

    def add(command: Callable[..., Any]) -> Callable[..., Any]:
        for option in reversed(options):
            command = option(command)
            _heading_of[command.__click_params__[-1]] = heading  # type: ignore[attr-defined]
        return command

    return add


class Command(click.Command):
    """A command whose help shows its options by group, those in no group first."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options under the headings of their groups."""
        groups: dict[str, list[tuple[str, str]]] = {_OTHERS: []}
        for option in self.get_params(ctx):
            if isinstance(option, click.Option) and (record := option.get_help_record(ctx)):
                groups.setdefault(_heading_of.get(option, _OTHERS), []).append(record)
        for heading, records in groups.items():
            with formatter.section(heading):
                formatter.write_dl(records)
