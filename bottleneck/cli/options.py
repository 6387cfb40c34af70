"""Option types and options that several commands share."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])

PATH = click.Path(path_type=Path)


# Without its type argument: older versions of click have no generic ParamType.
class Numbers(click.ParamType):  # type: ignore[type-arg, unused-ignore]
    """Numbers with commas between them, or a TOML list."""

    name = "x,y,…"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[float, ...]:
        """A tuple of floats."""
        try:
            parts = value if isinstance(value, (list, tuple)) else str(value).split(",")
            return tuple(float(part) for part in parts)
        except (ValueError, TypeError):
            self.fail(f"{value!r} must be numbers with commas between them", param, ctx)


class GridOfC(Numbers):
    """``auto``, or values of C."""

    name = "auto|x,y,…"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[float, ...]:
        """A tuple of floats, empty for ``auto``."""
        return () if value in ("auto", ()) else super().convert(value, param, ctx)


class Task(click.ParamType):  # type: ignore[type-arg, unused-ignore]
    """``I/N``: part I of N, counted from 0."""

    name = "I/N"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, int]:
        """A pair of integers."""
        index, _, count = str(value).partition("/")
        if not (index.isdecimal() and count.isdecimal()):
            self.fail(f"{value!r} must be I/N, for example 0/8", param, ctx)
        return int(index), int(count)


def json_option(command: F) -> F:
    """``--json``."""
    return click.option("as_json", "--json", is_flag=True, help="Print JSON for programs.")(command)


def device_options(command: F) -> F:
    """``--device`` and ``--batch-size``."""
    command = click.option(
        "--batch-size", type=int, default=64, show_default=True, help="Images in a forward pass."
    )(command)
    return click.option(
        "--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:N."
    )(command)


def moved_network_options(command: F) -> F:
    """``--model`` and ``--weights`` for a network that has moved since extraction."""
    command = click.option(
        "--weights", help="Where the weights are now, if they moved; they must be the same."
    )(command)
    return click.option(
        "--model", help="Where the network is now, if it moved; it must be the same."
    )(command)


def overwrite_option(command: F) -> F:
    """``--overwrite``."""
    return click.option("--overwrite", is_flag=True, help="Replace the file that is in the way.")(
        command
    )
