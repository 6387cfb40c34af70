"""`bottleneck verify`."""

import sys
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from bottleneck.cli.interrupts import note_kept_shards
from bottleneck.cli.option_groups import Command
from bottleneck.cli.options import (
    device_options,
    force_option,
    json_option,
    relocated_model_options,
    take,
)
from bottleneck.cli.output import Result, print_result, read_images
from bottleneck.cli.progress import extraction_progress
from bottleneck.cli.types import PATH
from bottleneck.errors import InvalidOptionError


@click.command(cls=Command)
@click.argument("cache", type=PATH)
@click.option(
    "--repair", "images", type=PATH, help="Extract damaged shards again from these images."
)
@relocated_model_options
@device_options
@force_option
@json_option
def verify(cache: Path, images: Path | None, as_json: bool, **options: Any) -> None:
    """Check every byte of a cache against its checksums.

    Exits with 1 if any fails. With --repair, shards that fail are extracted again, and spec.json
    and images.csv are restored from the shards and the images. Caches are untrusted: if the network
    is code, file.py:factory, it is executed only if you have used that code before, or give it as
    --model.

    \b
    Example:
      bottleneck verify photos.cache
      bottleneck verify photos.cache --repair photos
    """
    from bottleneck import verify as run

    results: list[Result] = []
    if images is None:
        _require_only_defaults(options)
    else:
        from bottleneck import repair
        from bottleneck.extraction import ComputeOptions

        with (
            note_kept_shards(cache),
            extraction_progress() as on_progress,
        ):
            source = read_images(images)
            compute = take(ComputeOptions, options)
            done = repair(
                cache,
                source,
                compute=compute,
                on_progress=on_progress,
                **options,
            )
        results.append(done)
    found = run(cache)
    print_result(*results, found, as_json=as_json)
    if not found.ok:
        sys.exit(1)


def _require_only_defaults(options: dict[str, Any]) -> None:
    """Refuse options of a repair that were typed: without one they would do nothing."""
    ctx = click.get_current_context()
    for name, value in options.items():
        if ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE:
            raise InvalidOptionError(name, value, "given with `images`")
