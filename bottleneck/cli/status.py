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
    from bottleneck.cache.store import cache_status

    found = cache_status(cache, layers, tasks)
    click.echo(json.dumps(found.to_dict()) if as_json else str(found))
    if not found.complete:
        sys.exit(INCOMPLETE)
