"""Options of tuning: what is trained, on which views, and how."""

import click

from bottleneck.cli.option_groups import option_group
from bottleneck.cli.options import (
    class_weight_option,
    device_option,
    labels_option,
    memory_option,
    names_option,
    require_typed_code,
)
from bottleneck.cli.types import Views

source_options = option_group(
    "Network, layer and views",
    click.option(
        "--model",
        callback=require_typed_code,
        help="Of images: the network, as for extract. Of a cache: its new location, if it "
        "moved. A file.py:factory is executed.",
    ),
    click.option(
        "--weights",
        help="Of images: as for extract.  [DEFAULT]  Of a cache: their new location.",
    ),
    click.option("--layer", help="Layer of the cache behind which to train.  [the only one]"),
    click.option(
        "--views",
        type=Views(),
        help="Views of each image, counted from the plain one: a number, or all. Images are "
        "judged by their mean.  [of a cache: all; of images: 1]",
    ),
    names_option(
        "--augment",
        "augmentations",
        help="Of images: what each epoch's pictures may be: flip, crop, rotate by quarters, color; "
        "or none.  [flip,crop]",
    ),
    labels_option,
)

recipe_options = option_group(
    "Training",
    click.option(
        "--init",
        type=click.Choice(["head", "fresh", "mlp"]),
        default="head",
        show_default=True,
        help="Start of the output: the softmax head on the pretrained codes, zeros, or a new "
        "hidden layer and output.",
    ),
    click.option("--hidden", type=int, help="Units of --init mlp.  [512]"),
    click.option(
        "--lr", type=float, help="Learning rate of pretrained weights.  [chosen from three]"
    ),
    click.option(
        "--epochs", type=int, default=30, show_default=True, help="Epochs of the schedule."
    ),
    click.option(
        "--patience",
        type=int,
        help="Epochs without a better one after which a trial stops; the last training has as "
        "many as were best.  [all]",
    ),
    click.option("--batch-size", type=int, default=32, show_default=True, help="Images of a step."),
    click.option(
        "--optimizer",
        type=click.Choice(["adamw", "sgd"]),
        default="adamw",
        show_default=True,
        help="AdamW, or SGD with momentum 0.9.",
    ),
    click.option("--weight-decay", type=float, help="Weight decay.  [0.05; 0.0005 for sgd]"),
    click.option(
        "--batch-norm",
        type=click.Choice(["keep", "train"]),
        default="keep",
        show_default=True,
        help="Statistics of batch norm: those of the pretrained network, or of the batches.",
    ),
    class_weight_option,
    click.option(
        "--seed", type=int, default=0, show_default=True, help="Decides all that is random."
    ),
)

machine_options = option_group(
    "Computation",
    click.option(
        "--precision",
        type=click.Choice(["float32", "bfloat16"]),
        default="float32",
        show_default=True,
        help="Of products and convolutions while training, where the device has it.",
    ),
    device_option(),
    memory_option(
        "Memory for maps, such as 8G; others are read as needed.  [half of what is free]"
    ),
)
