"""`bottleneck status`."""

import sys
from pathlib import Path

import click

from bottleneck.cli.option_groups import Command
from bottleneck.cli.options import json_option, names_option
from bottleneck.cli.output import print_result
from bottleneck.cli.types import PATH

INCOMPLETE = 3  # exit code: to be waited for; 1 and 2 are errors, which do not pass
WITHOUT_CODES = 1


@click.command(cls=Command)
@click.argument("cache", type=PATH)
@names_option(
    "--layer",
    "layers",
    help="Layer that must be complete; may be given several times.  [all in the cache]",
)
@click.option(
    "--tasks",
    type=click.IntRange(min=1),
    default=1,
    help="Number of array tasks; lists those with missing shards.",
)
@json_option
def status(cache: Path, layers: tuple[str, ...] | None, tasks: int, as_json: bool) -> None:
    """Show what a cache holds.

    Lists finished and missing rows, rejected images with the reason, sizes, and the spec. Exits
    with 3 while rows are missing, so that a job can wait for others, and with 1 if nothing is
    missing and yet no image has codes, since all were rejected.

    \b
    Example:
      bottleneck status photos.cache
      bottleneck status photos.cache --layer layer3 --tasks 16
    """
    from bottleneck import status as run

    found = run(cache, layers or (), tasks)
    print_result(found, as_json=as_json)
    if not found.complete:
        sys.exit(WITHOUT_CODES if found.finished else INCOMPLETE)
