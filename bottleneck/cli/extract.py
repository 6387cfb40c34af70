"""`bottleneck extract`."""

import json
import sys
from pathlib import Path
from typing import Any

import click

from bottleneck.cli.interrupts import telling_what_is_kept
from bottleneck.cli.options import (
    PATH,
    Numbers,
    Task,
    device_options,
    engine_of,
    engine_options,
    force_option,
    json_option,
)
from bottleneck.cli.progress import progress_of


@click.command()
@click.argument("images", type=PATH)
@click.option("-o", "--out", type=PATH, required=True, help="The cache's directory.")
@click.option("--model", required=True, help="A torchvision name, or path/to/file.py:factory.")
@click.option(
    "--weights",
    default="DEFAULT",
    show_default=True,
    help="DEFAULT, a torchvision weights name, none, or a .pth or .safetensors file.",
)
@click.option("--layer", "layers", multiple=True, required=True, help="May be given several times.")
@click.option("--pool", default="avg", show_default=True, help="avg, max, none or a grid's side.")
@click.option("--relu/--no-relu", default=True, show_default=True, help="Zero what is negative.")
@click.option(
    "--dtype", type=click.Choice(["float16", "float32"]), help="Of stored codes.  [float16]"
)
@click.option(
    "--compression", type=click.Choice(["none", "lzf", "gzip"]), help="Of stored codes.  [none]"
)
@click.option(
    "--precision",
    type=click.Choice(["auto", "float32", "bfloat16", "float16"]),
    default="auto",
    show_default=True,
    help="Of weights and activations.",
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
@engine_options
@click.option("--resize", type=click.IntRange(min=1), help="Shorter side, in pixels.")
@click.option("--crop", type=click.IntRange(min=1), help="Side of the centre that is cut out.")
@click.option("--mean", type=Numbers(), help="Of each channel, on the scale 0 to 1.")
@click.option("--std", type=Numbers(), help="Of each channel, on the scale 0 to 1.")
@click.option(
    "--interpolation",
    type=click.Choice(["nearest", "bilinear", "bicubic"]),
    help="How images are resized.",
)
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
    task: tuple[int, int],
    device: str,
    backend: str | None,
    jobs: int | None,
    scheduler: str | None,
    strict: bool,
    as_json: bool,
    resize: int | None,
    crop: int | None,
    mean: tuple[float, ...] | None,
    std: tuple[float, ...] | None,
    interpolation: str | None,
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
    from bottleneck import report
    from bottleneck.extract import extract as run
    from bottleneck.lanes import visible_cards

    preprocess = {
        "resize": resize,
        "crop": crop,
        "mean": mean,
        "std": std,
        "interpolation": interpolation,
    }
    cards = visible_cards(device) if backend == "loky" else []
    with (
        telling_what_is_kept(out),
        engine_of(backend, jobs=jobs, scheduler=scheduler, cards=cards) as engine,
        progress_of("images") as progress,
    ):
        done = run(
            images,
            out,
            preprocess=preprocess,
            task=task,
            device=device,
            engine=engine,
            announce=lambda ahead: click.echo(report.preflight_text(ahead), err=True),
            progress=progress,
            **options,
        )
    if as_json:
        click.echo(json.dumps(report.extraction_json(done)))
    else:
        click.echo(report.extraction_text(done))
    if strict and done.rejected:
        sys.exit(1)
