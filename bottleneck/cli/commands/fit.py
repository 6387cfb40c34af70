"""`bottleneck fit`."""

import json
from pathlib import Path
from typing import Any, Literal

import click

from bottleneck.cli.fitting_options import (
    feature_options,
    search_options,
    take_search_options,
    training_options,
)
from bottleneck.cli.option_groups import Command
from bottleneck.cli.options import (
    cluster_options,
    json_option,
    overwrite_option,
    take_executor,
)
from bottleneck.cli.output import print_either, print_written, read_labels, require_writable_outputs
from bottleneck.cli.progress import shown_progress
from bottleneck.cli.types import PATH, RequiredChoice


@click.command(cls=Command)
@click.argument("cache", type=PATH)
@click.option(
    "--clf", type=RequiredChoice(["svm", "softmax"]), required=True, help="Classifier to train."
)
@feature_options
@search_options(
    click.option(
        "--cv",
        type=int,
        default=5,
        show_default=True,
        help="Number of folds; 0 for no cross-validation.",
    )
)
@training_options
@cluster_options
@click.option(
    "--save-cv", type=PATH, help="Write the scores of every C and fold to this file, as JSON."
)
@click.option(
    "--plot",
    type=PATH,
    help="Also draw the search for C and the confusion matrix, in a .svg, .png or .pdf file.",
)
@click.option("-o", "--out", type=PATH, help="Head file.  [head-CLF-LAYER.safetensors]")
@overwrite_option
@json_option
def fit(
    cache: Path,
    clf: str,
    layers: tuple[str, ...] | None,
    save_cv: Path | None,
    plot: Path | None,
    out: Path | None,
    overwrite: bool,
    as_json: bool,
    labels: Path | None,
    views: int | Literal["all"] | None,
    memory: int | None,
    **training: Any,
) -> None:
    """Train a linear classifier on cached codes.

    Needs no GPU, no images and no weights. C is chosen by cross-validation on the training split
    alone. After that, the held-out split (test, or else val) is used once to measure accuracy.
    Held-out images of a class that the training split lacks are counted, but are not in the score.

    Codes of several layers are put side by side, each layer scaled by itself and divided by the
    square root of their number. An image with V views is V rows of weight 1/V. All of them are in
    the same fold, and the image is judged by the mean of their scores.

    \b
    Example:
      bottleneck fit photos.cache --clf svm --layer layer3
      bottleneck fit photos.cache --clf svm --layer layer3 --layer layer4
      bottleneck fit photos.cache --clf svm --layer all --scaling sqrt
      bottleneck fit photos.cache --clf softmax --c 0.01,0.1,1 -o photos.head
      bottleneck fit photos.cache --clf svm --layer layer3 --labels colours.csv
      bottleneck fit photos.cache --clf svm --layer layer3 --plot fit.svg
      bottleneck fit photos.cache --clf svm --backend dask --scheduler tcp://node1:8786
    """
    from bottleneck import fit as run
    from bottleneck import open_cache
    from bottleneck.fitting import ClassifierOptions, require_picture, resolve_features
    from bottleneck.runtime import write_text_atomic

    search = take_search_options(training)
    opened = take_executor(training)
    options = ClassifierOptions(clf, **training)
    store = open_cache(cache)
    features = resolve_features(store, layers, views or "all")
    out = out or Path(f"head-{clf}-{features.file_name}.safetensors")
    if plot is not None:
        require_picture(plot)
    require_writable_outputs({"out": out, "save_cv": save_cv, "plot": plot}, overwrite=overwrite)
    images = read_labels(store, labels)
    with opened as executor, shown_progress() as show:
        result = run(
            store,
            options,
            layers=features.layers,
            views=features.views,
            search=search,
            labels=images,
            memory=memory,
            executor=executor,
            on_progress=show,
        )
    result.head.save(out)
    if save_cv is not None:
        numbers = result.search.to_dict() if result.search else None
        write_text_atomic(save_cv, json.dumps(numbers) + "\n")
    text = result.format(f"saved {out} ({result.seconds:.1f} s)")
    print_either(text, result.to_dict() | {"head": str(out)}, as_json=as_json)
    if plot is not None:
        result.plot(plot)
    print_written(save_cv, plot)
