"""`bottleneck predict`."""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bottleneck.cli.option_groups import Command
from bottleneck.cli.options import (
    device_options,
    overwrite_option,
    relocated_model_options,
    take,
    views_option,
)
from bottleneck.cli.output import print_notes, print_written, spelled
from bottleneck.cli.types import PATH
from bottleneck.errors import ImageError, InvalidOptionError

if TYPE_CHECKING:
    from bottleneck.prediction import Prediction

_BY_SUFFIX = {".csv": "csv", ".jsonl": "jsonl", ".txt": "table", "": "table"}


@click.command(cls=Command)
@click.argument("head", type=PATH)
@click.argument("images", nargs=-1, required=True)
@click.option(
    "style",
    "--format",
    type=click.Choice(["table", "csv", "jsonl"]),
    help="Output format.  [table; with --out by its suffix: .csv, .jsonl, or .txt]",
)
@click.option(
    "style",
    "--json",
    flag_value="jsonl",
    help="Print JSON for programs, a line for each image: --format jsonl.",
)
@click.option(
    "--top",
    type=click.IntRange(min=1),
    help="Number of classes to print, best first.  [the label; all for jsonl]",
)
@click.option("-o", "--out", type=PATH, help="Write to this file.  [standard output]")
@overwrite_option
@views_option
@relocated_model_options
@device_options
def predict(
    head: Path,
    images: tuple[str, ...],
    style: str | None,
    top: int | None,
    out: Path | None,
    overwrite: bool,
    **options: Any,
) -> None:
    """Classify new images.

    IMAGES are any mixture of files, folders, patterns, CSV files with a column path, and archives,
    tables and arrays as `extract` takes them. Prints probabilities, or margins for an svm that was
    trained without cross-validation. Exits with 1 if every image is rejected.

    HEAD may also be a tuned tail, or an ONNX file that `export` wrote; onnxruntime runs that file
    without PyTorch and without the network's own file. Heads are untrusted: if the network is code,
    file.py:factory, it is executed only if you have used that code before, or give it as --model.

    \b
    Example:
      bottleneck predict head-svm-layer3.safetensors new/*.jpg
      bottleneck predict head-softmax-layer3.safetensors new -o new.jsonl
      bottleneck predict head-svm-layer3.onnx new/*.jpg
    """
    from bottleneck import predict as run
    from bottleneck import summarize_images
    from bottleneck.extraction import ComputeOptions
    from bottleneck.prediction import open_predictor, open_sources, prediction_lines
    from bottleneck.runtime import require_writable_output, write_lines_atomic

    if out is not None:
        require_writable_output(out, overwrite=overwrite)
        style = style or _style_of(out)
    compute = take(ComputeOptions, options)
    loaded, source = open_predictor(head, device=compute.device), open_sources(images)
    predictions = run(loaded, source, compute=compute, **options)
    click.echo(summarize_images(source).counts, err=True)
    print_notes(predictions.notes)
    counts: Counter[bool] = Counter()  # of images that are rejected and not
    lines = prediction_lines(_counted(predictions, counts), style=style or "table", top=top)
    if out is not None:
        write_lines_atomic(out, lines)
        print_written(out)
    else:
        for line in lines:
            click.echo(line.encode("utf-8", errors="surrogateescape"))
    if not counts[False]:
        raise ImageError("no image could be classified: every one is rejected, see the reasons")


def _style_of(out: Path) -> str:
    """Return the format of a file that has none by --format; `.json` is not taken for a table."""
    if out.suffix.lower() not in _BY_SUFFIX:
        allowed = "a name that ends in .csv, .jsonl, or .txt for a table"
        raise InvalidOptionError("out", str(out), allowed, "`style` allows any name")
    return _BY_SUFFIX[out.suffix.lower()]


def _counted(predictions: "Iterable[Prediction]", counts: Counter[bool]) -> "Iterator[Prediction]":
    """Count rejected and other predictions; yield them with options spelled as in a shell."""
    for prediction in predictions:
        counts[bool(prediction.reason)] += 1
        why = prediction.reason
        yield replace(prediction, reason=spelled(why)) if why else prediction
