"""`bottleneck audit`."""

from pathlib import Path

import click

from bottleneck.cli.option_groups import Command
from bottleneck.cli.options import (
    json_option,
    labels_option,
    memory_option,
    names_option,
    overwrite_option,
)
from bottleneck.cli.output import print_either, print_written, read_labels
from bottleneck.cli.progress import shown_progress
from bottleneck.cli.types import PATH


@click.command(cls=Command)
@click.argument("cache", type=PATH)
@names_option(
    "--layer",
    "layers",
    help="Layer whose codes are compared; may be given several times.  [all, but no maps "
    "beside codes]",
)
@labels_option
@memory_option("Memory that may be used, such as 8G.  [half of the free memory]")
@click.option("-o", "--out", type=PATH, help="Write every image that was found to this CSV file.")
@overwrite_option
@json_option
def audit(
    cache: Path,
    layers: tuple[str, ...] | None,
    labels: Path | None,
    memory: int | None,
    out: Path | None,
    overwrite: bool,
    as_json: bool,
) -> None:
    """Find duplicates, leaks, suspect labels and outliers.

    Needs no GPU, no images and no weights. Duplicates are images with the same bytes; near
    duplicates have codes that are closer than unrelated images are by chance. Leaks are held-out
    images with a duplicate in the training split: accuracy is given with and without them. Suspect
    labels are found by confident learning. Nothing is removed, and the cache is only read.

    \b
    Example:
      bottleneck audit photos.cache
      bottleneck audit photos.cache --layer layer4 --labels split.csv
      bottleneck audit photos.cache -o audit.csv --json
    """
    from bottleneck import audit as run
    from bottleneck import open_cache
    from bottleneck.runtime import require_writable_output

    if out is not None:
        require_writable_output(out, overwrite=overwrite)  # checked before the work
    store = open_cache(cache)
    images = read_labels(store, labels)
    with shown_progress() as show:
        result = run(store, layers=layers or "all", labels=images, memory=memory, on_progress=show)
    if out is not None:
        result.to_csv(out)
    print_either(result.format(), result.to_dict(), as_json=as_json)
    print_written(out)
