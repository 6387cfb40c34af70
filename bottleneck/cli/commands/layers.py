"""`bottleneck layers`."""

import click

from bottleneck.cli.option_groups import Command
from bottleneck.cli.options import json_option, require_typed_code
from bottleneck.cli.output import print_either, print_notes


@click.command(cls=Command)
@click.argument("model", callback=require_typed_code)
@click.option(
    "--weights",
    default="DEFAULT",
    show_default=True,
    help="Weights, whose preprocessing sets the size of the input.",
)
@click.option(
    "--pool", default="avg", show_default=True, help="avg, max, none, cls or a grid's side."
)
@click.option(
    "--dtype",
    type=click.Choice(["float16", "float32"]),
    default="float16",
    show_default=True,
    help="Data type of stored codes.",
)
@click.option("--crop", type=click.IntRange(min=1), help="Height and width of the input in pixels.")
@json_option
def layers(
    model: str, weights: str, pool: str, dtype: str, crop: int | None, as_json: bool
) -> None:
    """List the layers whose codes can be extracted.

    MODEL is a torchvision name, timm:NAME, hf-hub:ORG/NAME, or path/to/file.py:factory; that file
    is executed. No weights are downloaded.

    For each layer: its shape, the size of its code, bytes per image, and "work", the fraction of
    the network's multiply-adds up to this layer. A layer is a "cut" if everything after it is
    computed from it alone, so that `tune` can train what follows from its maps. If a module returns
    several tensors, its name is that of the first, and NAME:KEY names another.

    \b
    Example:
      bottleneck layers resnet50
      bottleneck layers my_network.py:build --pool 2 --crop 64
    """
    from bottleneck import layers as run

    table = run(model, weights=weights, pool=pool, dtype=dtype, crop=crop)
    print_notes(table.notes)
    print_either(str(table), table.to_list(), as_json=as_json)
