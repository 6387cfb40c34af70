"""`bottleneck extract`."""

import sys
from pathlib import Path
from typing import Any

import click

from bottleneck.cli.interrupts import note_kept_shards
from bottleneck.cli.options import (
    PATH,
    Task,
    device_options,
    executor_from_options,
    executor_options,
    force_option,
    json_option,
    network_options,
    preprocess_options,
    take,
    take_preprocess,
)
from bottleneck.cli.output import print_result
from bottleneck.cli.progress import extraction_progress


@click.command()
@click.argument("images", type=PATH)
@click.option("-o", "--out", type=PATH, required=True, help="The cache's directory.")
@network_options
@click.option(
    "--compression", type=click.Choice(["none", "lzf", "gzip"]), help="Of stored codes.  [none]"
)
@device_options
@click.option("--workers", type=int, help="Threads that read, and for a GPU decode.  [one a core]")
@click.option("--shard-size", type=int, help="Rows of a shard.  [4096, fewer for large codes]")
@click.option(
    "--task",
    type=Task(),
    default="auto",
    help="Only part I of N, counted from 0.  [as the scheduler says; else all]",
)
@executor_options
@preprocess_options
@click.option("--retry-rejected", is_flag=True, help="Try rejected images again.")
@click.option(
    "--check-content", is_flag=True, help="Find changed images by their bytes, not by their times."
)
@click.option("--strict", is_flag=True, help="Exit with 1 if any image was rejected.")
@force_option
@json_option
def extract(
    images: Path,
    out: Path,
    device: str,
    backend: str | None,
    jobs: int | None,
    scheduler: str | None,
    strict: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Cache the codes of images at some layers.

    Runs the frozen network once over IMAGES: a directory of class folders, one with train/ val/
    test/ of class folders, a flat directory, or a CSV with path[,label][,split][,group]. Run
    again, it does only what is missing. It first says what that is and what room it takes, and
    refuses what the disk cannot hold. The weights bring their own preprocessing; --resize,
    --crop, --mean, --std and --interpolation replace it. A --model file.py:factory is run: it is
    code; the network that it returns may have a dictionary `preprocess` of these five.

    \b
    Example:
      bottleneck extract photos -o photos.cache --model resnet50 --layer layer3 --layer layer4
      bottleneck extract photos -o photos.cache --model resnet50 --layer layer2 --task 3/16
      bottleneck extract photos -o photos.cache --model resnet50 --layer layer2 --backend loky

    In an array of Slurm, Grid Engine or LSF, and beside other ranks of srun, torchrun or mpirun,
    each process knows its part; in one of PBS or Kubernetes, with --task auto/N for N of them.

    With --backend, shards are made by processes of this machine, one for each GPU that is visible,
    or by the workers of a Dask cluster, which must see the same files: the quick make more of them.
    """
    from bottleneck.extraction.extract import extract as run
    from bottleneck.extraction.options import ComputeOptions, RefreshOptions, StorageOptions
    from bottleneck.runtime.devices import visible_gpus

    cards = visible_gpus(device) if backend == "loky" else []
    with (
        note_kept_shards(out),
        executor_from_options(backend, jobs=jobs, scheduler=scheduler, gpus=cards) as executor,
        extraction_progress() as on_progress,
    ):
        result = run(
            images,
            out,
            transform=take_preprocess(options),
            storage=take(StorageOptions, options),
            compute=take(ComputeOptions, options, device=device, executor=executor),
            refresh=take(RefreshOptions, options),
            on_progress=on_progress,
            **options,
        )
    print_result(result, as_json=as_json)
    if strict and result.rejected:
        sys.exit(1)
