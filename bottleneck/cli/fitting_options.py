"""Options of fitting: what is read of a cache, the search for C, and training."""

from typing import TYPE_CHECKING, Any

import click

from bottleneck.cli.option_groups import Decorator, option_group
from bottleneck.cli.options import (
    class_weight_option,
    labels_option,
    memory_option,
    names_option,
    take,
)
from bottleneck.cli.types import GridOfC, Views

if TYPE_CHECKING:
    from bottleneck.fitting import SearchOptions


feature_options = option_group(
    "Codes",
    names_option(
        "--layer",
        "layers",
        help="Layer of the cache; may be given several times. all: every layer, without maps "
        "(NAME@none) if there are pooled codes.",
    ),
    click.option(
        "--views",
        type=Views(),
        help="Number of views of each image to use, with the image itself, or all.  [all; sweep: "
        "1, and all for the row of all layers]",
    ),
)


def search_options(cv: Decorator) -> Decorator:
    """Return the options of the search for C and the scaling, with a command's own ``--cv``."""
    return option_group(
        "Choice of C and scaling",
        cv,
        click.option(
            "--c",
            type=GridOfC(),
            default="auto",
            show_default=True,
            help="Values of C to compare by cross-validation.",
        ),
        click.option(
            "--scaling",
            "--preprocess",
            "scaling",
            type=click.Choice(["standardize", "sqrt", "l2", "none", "auto"]),
            default="standardize",
            show_default=True,
            help="Scaling of each layer's codes, fitted on training folds alone. sqrt: signed "
            "square roots, standardized; auto: the best of these.",
        ),
        click.option(
            "--metric",
            type=click.Choice(["accuracy", "balanced", "macro_f1"]),
            default="accuracy",
            show_default=True,
            help="Metric that cross-validation maximises. With several labels an image it is "
            "always mean average precision.",
        ),
        click.option(
            "--rule",
            type=click.Choice(["best", "1se"]),
            default="best",
            show_default=True,
            help="1se: the smallest C within one standard error of the best.",
        ),
        click.option(
            "--nested",
            is_flag=True,
            help="Nested cross-validation: also score the choice of C and scaling, in outer folds. "
            "Takes about as many times longer as there are folds.",
        ),
    )


training_options = option_group(
    "Training",
    class_weight_option,
    labels_option,
    memory_option("Memory for training, such as 8G.  [half of the free memory]"),
    click.option("--device", help="Train with PyTorch on cpu, cuda or cuda:N.  [NumPy]"),
)


def take_search_options(options: dict[str, Any]) -> "SearchOptions":
    """Remove how C and the scaling are chosen from a command's `search_options`.

    What is left are the options of the classifier.
    """
    from bottleneck.fitting import SearchOptions

    return take(SearchOptions, options, c=options.pop("c") or None)
