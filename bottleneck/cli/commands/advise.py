"""`bottleneck advise`."""

from pathlib import Path

import click

from bottleneck.cli.command_line import command_line
from bottleneck.cli.option_groups import Command
from bottleneck.cli.options import json_option, labels_option, memory_option, names_option
from bottleneck.cli.output import print_either, read_labels
from bottleneck.cli.progress import shown_progress
from bottleneck.cli.types import PATH


@click.command(cls=Command)
@click.argument("cache", type=PATH)
@names_option(
    "--layer",
    "layers",
    help="Layer to compare; may be given several times.  [all, but no maps beside codes]",
)
@labels_option
@click.option(
    "--tuned",
    multiple=True,
    type=PATH,
    help="Tuned tail of the same images, to compare; may be given several times.",
)
@memory_option("Memory for training, such as 8G.  [half of the free memory]")
@json_option
@click.pass_context
def advise(
    ctx: click.Context,
    /,
    cache: Path,
    layers: tuple[str, ...] | None,
    labels: Path | None,
    tuned: tuple[Path, ...],
    memory: int | None,
    as_json: bool,
) -> None:
    """Say which strategy to take, by measurements on the cache.

    Compares linear heads on the last layer, on each other layer, on all layers together, and with
    the cache's views, by cross-validation on the training images. Tuned tails that are given are
    compared by their own record. A learning curve estimates what twice as many images would give.

    Recommends the cheapest strategy within one standard error, and two points, of the best, with
    what it is worth and the commands, or a strategy that is expected to be better and was not
    measured. The held-out split is not used, and the cache is only read.

    \b
    Example:
      bottleneck advise photos.cache
      bottleneck advise photos.cache --layer layer3 --layer layer4 --labels split.csv
      bottleneck advise photos.cache --tuned tail-layer3.safetensors --json
    """
    from bottleneck import advise as run
    from bottleneck import open_cache

    store = open_cache(cache)
    images = read_labels(store, labels)
    with shown_progress() as show:
        result = run(
            store,
            layers=layers or "all",
            labels=images,
            tuned=tuned,
            memory=memory,
            on_progress=show,
        )
    commands = [command_line(ctx, step.verb, step.arguments) for step in result.steps]
    values = result.to_dict() | {"commands": commands}
    print_either(result.format(commands), values, as_json=as_json)
