"""`bottleneck layers`."""

import json

import click

from bottleneck.cli.options import json_option


@click.command()
@click.argument("model")
@click.option("--weights", default="DEFAULT", show_default=True, help="They say the input's size.")
@click.option("--pool", default="avg", show_default=True, help="avg, max, none or a grid's side.")
@click.option(
    "--dtype",
    type=click.Choice(["float16", "float32"]),
    default="float16",
    show_default=True,
    help="Of stored codes.",
)
@click.option("--crop", type=click.IntRange(min=1), help="Height and width of the input in pixels.")
@json_option
def layers(
    model: str, weights: str, pool: str, dtype: str, crop: int | None, as_json: bool
) -> None:
    """List the layers that can be tapped.

    Each with its shape, its code, bytes an image and its share of the network's work.

    MODEL is a torchvision name, or path/to/file.py:factory (that file is run: it is code).
    Nothing is downloaded. "work" is the share of the network's multiply-adds up to the layer.

    \b
    Example:
      bottleneck layers resnet50
      bottleneck layers my_network.py:build --pool 2 --crop 64
    """
    from bottleneck.backbones.backbone import build_skeleton
    from bottleneck.backbones.layers import check_pool, list_layers
    from bottleneck.extraction import summary as report

    check_pool(pool)
    network, preprocess = build_skeleton(model, weights)
    found = list_layers(network, crop or preprocess.crop)
    itemsize = {"float16": 2, "float32": 4}[dtype]
    if as_json:
        click.echo(json.dumps(report.layers_json(found, pool=pool, itemsize=itemsize)))
    else:
        click.echo(report.layers_text(found, pool=pool, itemsize=itemsize))
