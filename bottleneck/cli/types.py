"""Types of option values: numbers, sizes, a part of a run."""

import os
import re
from pathlib import Path
from typing import Any

import click

from bottleneck.runtime import ArrayTask, detect_array_task


class GivenPath(click.Path):  # type: ignore[type-arg, unused-ignore]
    """A path, and not the empty text of a shell's unset variable: that is the working folder."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return a `Path`."""
        if value == "":
            self.fail("an empty text is no path; the working directory is '.'", param, ctx)
        return super().convert(value, param, ctx)


PATH = GivenPath(path_type=Path)


class RequiredChoice(click.Choice):  # type: ignore[type-arg, unused-ignore]
    """One of several names. Without it, the message names them all on its one line."""

    def get_missing_message(self, param: click.Parameter, ctx: click.Context | None = None) -> str:
        """Return the names; click itself would give each a line."""
        return f"Choose {' or '.join(map(str, self.choices))}."


# Without its type argument: older versions of click have no generic ParamType.
class _Shown(click.ParamType):  # type: ignore[type-arg, unused-ignore]
    """A type whose name the help shows as it is: what is typed literally is in lower case."""

    def get_metavar(self, param: click.Parameter, ctx: click.Context | None = None) -> str:
        """Return the name; click itself would put it into capitals."""
        return self.name


class Numbers(_Shown):
    """Numbers with commas between them."""

    name = "X,Y,…"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[float, ...]:
        """Return a tuple of floats."""
        try:
            parts = value if isinstance(value, tuple) else str(value).split(",")
            return tuple(float(part) for part in parts)
        except (ValueError, TypeError):
            self.fail(f"{value!r} must be numbers with commas between them", param, ctx)


class Names(click.ParamType):  # type: ignore[type-arg, unused-ignore]
    """Names with commas between them."""

    name = "name,…"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, ...]:
        """Return a tuple of texts."""
        parts = value if isinstance(value, tuple) else str(value).split(",")
        return tuple(str(part).strip() for part in parts)


class GridOfC(Numbers):
    """``auto``, or values of C."""

    name = "auto|X,Y,…"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[float, ...]:
        """Return a tuple of floats, empty for ``auto``."""
        return () if value in ("auto", ()) else super().convert(value, param, ctx)


class Range(Numbers):
    """``auto``, or the values that become black and white."""

    name = "LO,HI|auto"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return a tuple of floats, or ``"auto"``."""
        return value if value == "auto" else super().convert(value, param, ctx)


class Views(_Shown):
    """``all``, or a number of views."""

    name = "N|all"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return an integer, or ``"all"``."""
        if value == "all":
            return value
        if not str(value).isdecimal() or int(value) < 1:
            self.fail(f"{value!r} must be a number of views above 0, or all", param, ctx)
        return int(value)


class Size(click.ParamType):  # type: ignore[type-arg, unused-ignore]
    """Bytes, with K, M, G or T for powers of 1024: ``8G``."""

    name = "SIZE"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Return a number of bytes."""
        found = re.fullmatch(
            r"(\d+(?:\.\d*)?)\s*([KMGT]?)(?:i?B)?", str(value).strip(), re.IGNORECASE
        )
        size = found and int(float(found[1]) * 1024 ** " KMGT".index(found[2].upper() or " "))
        if not size:
            self.fail(f"{value!r} must be a size above 0 such as 800M or 8G", param, ctx)
        return size


class Task(_Shown):
    """Part I of N, ``I/N``, from 0; ``all``; ``auto`` or ``auto/N``: as the scheduler says."""

    name = "auto|all|I/N"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> ArrayTask:
        """Return the part of the run."""
        if isinstance(value, ArrayTask):
            return value
        if value == "all":
            return ArrayTask()
        index, _, count = str(value).partition("/")
        if index == "auto" and (count.isdecimal() or value == "auto"):
            return detect_array_task(os.environ, count=int(count) if count else None)
        if not (index.isdecimal() and count.isdecimal()):
            self.fail(f"{value!r} must be I/N, for example 0/8, or all, or auto", param, ctx)
        return ArrayTask(int(index), int(count))
