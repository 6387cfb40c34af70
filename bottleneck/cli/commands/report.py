"""`bottleneck report`."""

from pathlib import Path
from typing import Any

import click

from bottleneck.cli.option_groups import Command
from bottleneck.cli.options import (
    device_option,
    json_option,
    labels_option,
    names_option,
    overwrite_option,
    relocated_model_options,
)
from bottleneck.cli.output import print_result, read_labels
from bottleneck.cli.progress import shown_progress
from bottleneck.cli.types import PATH, Size


@click.command(cls=Command)
@click.argument("cache", type=PATH)
@click.argument("head", type=PATH)
@click.option(
    "-o", "--out", type=PATH, default="report.html", show_default=True, help="File of the page."
)
@click.option(
    "--images",
    type=PATH,
    help="The cache's images, as `extract` took them, for thumbnails.  [names alone]",
)
@names_option(
    "--layer",
    "layers",
    help="Layer to compare, and whose codes find near duplicates; may be given several times.  "
    "[all, but no maps beside codes]",
)
@labels_option
@click.option(
    "--max-bytes",
    type=Size(),
    default="8M",
    show_default=True,
    help="Maximum size of all thumbnails together.",
)
@relocated_model_options
@device_option("Device on which a tuned tail computes")
@overwrite_option
@json_option
def report(
    cache: Path,
    head: Path,
    out: Path,
    layers: tuple[str, ...] | None,
    labels: Path | None,
    overwrite: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Write one HTML page about a cache and a head.

    The page has the accuracy with its interval, a table of the classes, a confusion matrix whose
    cells open their images, the most confident mistakes, suspect labels, near duplicates, a
    reliability diagram, accuracy by layer, a learning curve, the least certain images, rejected
    files, and how everything was computed. It loads nothing from elsewhere, and works offline and
    as a mail attachment. HEAD is a head, or a tuned tail whose boundary the cache has.

    \b
    Example:
      bottleneck report photos.cache head-svm-layer4.safetensors --images photos
      bottleneck report photos.cache head-svm-layer4.safetensors -o page.html --max-bytes 2M
    """
    from bottleneck import open_cache
    from bottleneck import report as run
    from bottleneck.runtime import require_writable_output

    require_writable_output(out, overwrite=overwrite)  # checked before the work
    store = open_cache(cache)
    table = read_labels(store, labels)
    with shown_progress() as show:
        result = run(
            store,
            head,
            out,
            labels=table,
            layers=layers or "all",
            overwrite=overwrite,
            on_progress=show,
            **options,
        )
    print_result(result, as_json=as_json)
