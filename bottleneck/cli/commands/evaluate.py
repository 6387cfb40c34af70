"""`bottleneck evaluate`."""

from pathlib import Path
from typing import Any

import click

from bottleneck.cli.option_groups import Command
from bottleneck.cli.options import (
    device_options,
    json_option,
    labels_option,
    relocated_model_options,
    take,
    views_option,
)
from bottleneck.cli.output import print_notes, print_result, read_images, read_labels
from bottleneck.cli.types import PATH


@click.command(cls=Command)
@click.argument("head", type=PATH)
@click.argument("target", metavar="CACHE|IMAGES", type=PATH)
@click.option("--split", help="Split to measure on.  [the held-out one: test, or else val]")
@labels_option
@views_option
@relocated_model_options
@device_options
@json_option
def evaluate(head: Path, target: Path, labels: Path | None, as_json: bool, **options: Any) -> None:
    """Measure the accuracy of a head or a tail on labelled images.

    CACHE|IMAGES is a cache of the same spec, or images as `extract` takes them. Images of a class
    that the head does not know are counted, but are not in the score.

    \b
    Example:
      bottleneck evaluate head-svm-layer3.safetensors photos.cache
      bottleneck evaluate head-svm-layer3.safetensors photos.cache --labels colours.csv
      bottleneck evaluate head-svm-layer3.safetensors new-photos --split test
    """
    from bottleneck import evaluate as run
    from bottleneck import open_cache
    from bottleneck.cache import is_cache
    from bottleneck.extraction import ComputeOptions
    from bottleneck.prediction import open_head

    compute, loaded = take(ComputeOptions, options), open_head(head)
    if is_cache(target):
        opened: Any = open_cache(target)
        given: Any = read_labels(opened, labels)
    else:
        opened, given = read_images(target), labels
    evaluation = run(loaded, opened, labels=given, compute=compute, **options)
    print_notes(evaluation.notes)
    print_result(evaluation, as_json=as_json)
