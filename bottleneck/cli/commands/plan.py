"""`bottleneck plan`."""

from pathlib import Path
from typing import Any

import click

from bottleneck.cli.option_groups import Command
from bottleneck.cli.options import (
    device_options,
    json_option,
    network_options,
    shard_options,
    take,
    take_transform,
    transform_options,
    view_options,
)
from bottleneck.cli.output import print_result
from bottleneck.cli.types import PATH
from bottleneck.runtime import format_count


@click.command(cls=Command)
@click.argument("images", type=PATH)
@network_options
@device_options
@shard_options
@click.option("--tasks", type=int, default=1, show_default=True, help="Number of array tasks.")
@transform_options
@view_options
@json_option
def plan(images: Path, as_json: bool, **options: Any) -> None:
    """Estimate shards, disk space and time of an extraction.

    The shards are those that `bottleneck extract` would write. The time is measured on this
    machine: some of the images are encoded for about ten seconds. Nothing is written. A --model
    file.py:factory is executed.

    \b
    Example:
      bottleneck plan photos --model resnet50 --layer layer3 --layer layer4 --tasks 16
    """
    from bottleneck import open_images
    from bottleneck import plan as run
    from bottleneck.extraction import ComputeOptions, StorageOptions, ViewOptions

    source = open_images(images)
    count = format_count(len(source.table), "image")
    click.echo(f"{count}: encoding some for about ten seconds, to measure this machine", err=True)
    result = run(
        source,
        transform=take_transform(options),
        storage=take(StorageOptions, options),
        compute=take(ComputeOptions, options),
        views=take(ViewOptions, options, count=options.pop("views")),
        **options,
    )
    print_result(result, as_json=as_json)
