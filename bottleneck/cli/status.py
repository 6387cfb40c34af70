"""`bottleneck status`."""

import json
import sys
from pathlib import Path

import click

from bottleneck.cli.options import PATH, json_option

INCOMPLETE = 3  # its exit code; 1 and 2 are errors


@click.command()
@click.argument("cache", type=PATH)
@click.option(
    "--layer", "layers", multiple=True, help="One that must be whole.  [those that are there]"
)
@click.option(
    "--tasks",
    type=click.IntRange(min=1),
    default=1,
    help="Say which of so many tasks have work left.",
)
@json_option
def status(cache: Path, layers: tuple[str, ...], tasks: int, as_json: bool) -> None:
    """Show what a cache holds.

    Rows done and missing, rejected images and why, size, spec. Exits with 3 while anything is
    missing, so that a job can wait for what others make.

    \b
    Example:
      bottleneck status photos.cache
      bottleneck status photos.cache --layer layer3 --tasks 16
    """
    from bottleneck.cache.store import open_cache
    from bottleneck.extraction import summary as report

    found = open_cache(cache)
    state = found.status(layers)
    if as_json:
        click.echo(json.dumps(report.status_json(found, state, tasks=tasks)))
    else:
        click.echo(report.status_text(found, state, found.rejected(), tasks=tasks))
    if not report.is_complete(state):
        sys.exit(INCOMPLETE)
