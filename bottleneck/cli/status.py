"""`bottleneck status`."""

import json
from pathlib import Path

import click

from bottleneck.cli.options import PATH, json_option


@click.command()
@click.argument("cache", type=PATH)
@json_option
def status(cache: Path, as_json: bool) -> None:
    """Show what a cache holds.

    Rows done and missing, rejected images and why, size, spec.

    \b
    Example:
      bottleneck status photos.cache
    """
    from bottleneck import report
    from bottleneck.store import open_cache

    found = open_cache(cache)
    if as_json:
        click.echo(json.dumps(report.status_json(found, found.status())))
    else:
        click.echo(report.status_text(found, found.status(), found.rejected()))
