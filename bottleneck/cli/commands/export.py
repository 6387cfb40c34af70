"""`bottleneck export`."""

from pathlib import Path
from typing import Any

import click

from bottleneck.cli.option_groups import Command
from bottleneck.cli.options import json_option, overwrite_option, relocated_model_options
from bottleneck.cli.output import print_result
from bottleneck.cli.types import PATH


@click.command(cls=Command)
@click.argument("head", type=PATH)
@click.option(
    "-o",
    "--out",
    type=PATH,
    required=True,
    help="Output file; its suffix is the format: .onnx, .pt (TorchScript), .skops (scikit-learn).",
)
@click.option(
    "input_type",
    "--input",
    type=click.Choice(["uint8", "float"]),
    default="uint8",
    show_default=True,
    help="Images that the exported file takes: uint8, height × width × 3; or float, 3 × height × "
    "width, 0…1.",
)
@click.option(
    "--views",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Number of views of each image that it takes and averages.",
)
@click.option(
    "--check",
    metavar="IMAGES",
    type=PATH,
    help="Compare it with `predict` on these images.  [eight generated ones]",
)
@overwrite_option
@relocated_model_options
@json_option
def export(head: Path, out: Path, as_json: bool, **options: Any) -> None:
    """Write a head or a tail and its network as one file.

    ONNX and TorchScript files hold everything after the resizing of an image: normalisation,
    network, pooling, scaling, classifier and calibration, in float32. A scikit-learn file holds the
    head alone, which takes codes. The export is first compared with `predict`, and is not written
    if a probability differs by more than 1e-4. `predict HEAD.onnx` runs it without PyTorch.

    \b
    Example:
      bottleneck export head-svm-layer3.safetensors -o ants.onnx
      bottleneck predict ants.onnx new/*.jpg
      bottleneck export head-svm-layer3.safetensors -o ants.pt --input float --check photos/test
      bottleneck export head-svm-layer3.safetensors -o ants.skops
    """
    from bottleneck import export as run

    print_result(run(head, out, **options), as_json=as_json)
