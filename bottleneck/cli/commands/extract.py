"""`bottleneck extract`."""

import sys
from pathlib import Path
from typing import Any

import click

from bottleneck.cli.interrupts import note_kept_shards
from bottleneck.cli.option_groups import Command
from bottleneck.cli.options import (
    device_options,
    executor_options,
    force_option,
    json_option,
    network_options,
    shard_options,
    take,
    take_executor,
    take_transform,
    transform_options,
    view_options,
)
from bottleneck.cli.output import print_notes, print_result, read_images
from bottleneck.cli.progress import extraction_progress
from bottleneck.cli.types import PATH, Task


@click.command(cls=Command)
@click.argument("images", type=PATH)
@click.option("-o", "--out", type=PATH, required=True, help="The cache's directory.")
@network_options
@click.option(
    "--compression",
    type=click.Choice(["none", "lzf", "gzip"]),
    help="Compression of stored codes.  [none]",
)
@device_options
@shard_options
@click.option(
    "--task",
    type=Task(),
    default="auto",
    help="Compute only part I of N, counted from 0, or all.  [auto: the part that the scheduler "
    "says; without one all]",
)
@executor_options
@transform_options
@view_options
@click.option("--retry-rejected", is_flag=True, help="Try rejected images again.")
@click.option(
    "--check-content",
    is_flag=True,
    help="Compare all images by content, even if size and time are unchanged.",
)
@click.option(
    "--strict",
    is_flag=True,
    help="Exit with 1 if an image was rejected, or a file that may be an image was skipped.",
)
@force_option
@json_option
def extract(
    images: Path,
    out: Path,
    device: str,
    strict: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Cache the codes of images at some layers.

    Runs the frozen network once over IMAGES. It first prints what it found, which files it skips,
    and an estimate of the disk space, and refuses to start if the disk is too small. At the end it
    counts images with the same bytes. A second run computes only what is missing; with new images,
    the last shard is made again if it is not full.

    IMAGES is a directory of class folders, one with train/ val/ test/ of class folders, a flat
    directory, or a CSV with path[,label][,split][,group]. Splits and columns are known by their
    usual names too, such as validation or filename. It may also be tar archives (one, a directory
    of them, or 'a-{000..127}.tar'), with class folders or WebDataset's key.cls, key.json or key.txt
    beside each image; Parquet files of Hugging Face's datasets; MedMNIST's .npz; or .h5 with images
    and labels.

    The weights define the preprocessing of images; --resize and the options below it replace parts
    of it. A --model file.py:factory is executed. The network that it returns may have an attribute
    `preprocess`: a dictionary of these fields.

    With --views N, N − 1 augmented pictures of each image are encoded too: mirrored or cropped at
    random, as --augment says. Each costs a forward pass and the space of the image's codes; an
    image is decoded once for all of them. Views can be added to a cache later.

    If --pool is given several times, one forward pass gives each layer in each pooling: the first
    under the layer's name, the others as NAME@2x2 or NAME@max. --layer NAME@2x2 does the same for
    one layer. --layer NAME@none keeps the maps that `bottleneck tune` reads.

    \b
    Example:
      bottleneck extract photos -o photos.cache --model resnet50 --layer layer3 --layer layer4
      bottleneck extract photos -o photos.cache --model resnet50 --layer layer2 --task 3/16
      bottleneck extract photos -o photos.cache --model resnet50 --layer layer2 --backend loky
      bottleneck extract photos -o photos.cache --model resnet50 --layer layer3 --views 5
      bottleneck extract photos -o photos.cache --model resnet50 --layer layer3 --pool avg --pool 2
      bottleneck extract 'a-{000..127}.tar' -o a.cache --model resnet50 --layer layer3

    In an array job of Slurm, Grid Engine or LSF, and under srun, torchrun or mpirun, each process
    computes its own part, and prints the environment variables that chose the part. In an array of
    N jobs of PBS or Kubernetes, give --task auto/N. If each job has a cache or layers of its own,
    give --task all.

    With --backend, shards are made by processes of this machine, one per visible GPU, or by the
    workers of a Dask cluster. Workers must see the same files under the same paths.
    """
    from bottleneck import extract as run
    from bottleneck.extraction import ComputeOptions, RunOptions, StorageOptions, ViewOptions
    from bottleneck.runtime import visible_gpus

    if origin := options["task"].origin:
        print_notes([origin])
    cards = visible_gpus(device) if options["backend"] == "loky" else []
    with (
        note_kept_shards(out),
        take_executor(options, cards) as executor,
        extraction_progress() as on_progress,
    ):
        source = read_images(images)  # says what it found before the network is loaded
        result = run(
            source,
            out,
            transform=take_transform(options),
            storage=take(StorageOptions, options),
            compute=take(ComputeOptions, options, device=device),
            run=take(
                RunOptions,
                options,
                executor=executor,
                on_progress=on_progress,
            ),
            views=take(ViewOptions, options, count=options.pop("views")),
            **options,
        )
    print_result(result, as_json=as_json)
    if strict and result.images.notes.lost_images:
        passed_over = result.images.notes.passed_over_text()
        click.echo(f"error: --strict: {passed_over}: convert, move or remove them", err=True)
    if strict and (result.rejected or result.images.notes.lost_images):
        sys.exit(1)
