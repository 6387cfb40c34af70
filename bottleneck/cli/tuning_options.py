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
        help="Number of views of each image to use, with the image itself, or all; scores are "
        "averaged over them.  [of a cache: all; of images: 1]",
    ),
    names_option(
        "--augment",
        "augmentations",
        help="Of images: random changes in each epoch: flip, crop, rotate (by quarter turns), "
        "color; or none.  [flip,crop]",
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
        help="How the output starts: as the softmax head on the pretrained codes, as zeros, or as "
        "a new hidden layer and output.",
    ),
    click.option("--hidden", type=int, help="Hidden units of --init mlp.  [512]"),
    click.option(
        "--lr", type=float, help="Learning rate of pretrained weights.  [chosen from three]"
    ),
    click.option(
        "--epochs", type=int, default=30, show_default=True, help="Epochs of the schedule."
    ),
    click.option(
        "--patience",
        type=int,
        help="Early stopping: end a trial after this many epochs without improvement, and train "
        "finally for the best number of epochs.  [no early stopping]",
    ),
    click.option("--batch-size", type=int, default=32, show_default=True, help="Images per step."),
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
        help="Statistics of batch norm: keep those of the pretrained network, or use each batch's.",
    ),
    class_weight_option,
    click.option("--seed", type=int, default=0, show_default=True, help="Random seed."),
)

machine_options = option_group(
    "Computation",
    click.option(
        "--precision",
        type=click.Choice(["float32", "bfloat16"]),
        default="float32",
        show_default=True,
        help="Data type of products and convolutions in training; float32 where the device "
        "lacks it.",
    ),
    device_option(),
    memory_option(
        "Memory for maps, such as 8G; maps that do not fit are read from disk in each epoch.  "
        "[half of the free memory]"
    ),
)
