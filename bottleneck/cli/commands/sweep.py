"""`bottleneck sweep`."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click
from click.core import ParameterSource

from bottleneck.cli.command_line import command_line
from bottleneck.cli.fitting_options import (
    feature_options,
    search_options,
    take_search_options,
    training_options,
)
from bottleneck.cli.option_groups import Command
from bottleneck.cli.options import (
    executor_options,
    json_option,
    names_option,
    overwrite_option,
    take_executor,
)
from bottleneck.cli.output import print_either, print_written, read_labels, require_writable_outputs
from bottleneck.cli.types import PATH

if TYPE_CHECKING:
    from bottleneck.fitting import SweepResult


@click.command(cls=Command)
@click.argument("cache", type=PATH)
@feature_options
@names_option(
    "--clf",
    "clfs",
    default=["svm", "softmax"],
    show_default=True,
    help="Classifier, svm or softmax; may be given several times.",
)
@search_options(
    click.option(
        "--cv", type=click.IntRange(min=2), default=5, show_default=True, help="Number of folds."
    )
)
@training_options
@executor_options
@click.option(
    "--plot", type=PATH, help="Also draw accuracy by layer, in a .svg, .png or .pdf file."
)
@click.option("-o", "--out", type=PATH, help="Also write the table as CSV, in full precision.")
@overwrite_option
@json_option
@click.pass_context
def sweep(
    ctx: click.Context,
    /,
    cache: Path,
    layers: tuple[str, ...] | None,
    clfs: tuple[str, ...],
    plot: Path | None,
    out: Path | None,
    overwrite: bool,
    as_json: bool,
    labels: Path | None,
    views: int | Literal["all"] | None,
    memory: int | None,
    **options: Any,
) -> None:
    """Compare the layers of a cache.

    Trains every classifier on every layer, in the order of the layers' cost, and on all of them
    together, plain and with all views if the cache has any, cross-validated as `fit` does it.
    Recommends the cheapest row within one standard error of the best, and prints the command that
    trains it. Held-out accuracy is shown, and does not influence the choice. The best of many rows
    looks better than it is: --nested says by how much.

    With --backend, each row of the table is computed by a process of this machine, or by a worker
    of a Dask cluster that sees the cache under the same path.

    \b
    Example:
      bottleneck sweep photos.cache
      bottleneck sweep photos.cache --plot layers.svg -o layers.csv
      bottleneck sweep photos.cache --nested --clf svm
      bottleneck sweep photos.cache --layer layer3 --layer layer4 --clf svm --json
      bottleneck sweep photos.cache --backend loky --jobs 4
    """
    from bottleneck import open_cache
    from bottleneck import sweep as run
    from bottleneck.cli.progress import shown_progress
    from bottleneck.fitting import ClassifierOptions, require_picture

    search = take_search_options(options)
    require_writable_outputs({"plot": plot, "out": out}, overwrite=overwrite)
    if plot is not None:
        require_picture(plot)
    store = open_cache(cache)
    images = read_labels(store, labels)
    with take_executor(options) as executor, shown_progress() as show:
        result = run(
            store,
            [ClassifierOptions(clf, **options) for clf in clfs],
            layers=layers,
            views=views,
            search=search,
            labels=images,
            memory=memory,
            executor=executor,
            on_progress=show,
        )
    if plot is not None:
        result.plot(plot)
    if out is not None:
        result.to_csv(out)
    print_either(result.format(_fit_command(ctx, result)), result.to_list(), as_json=as_json)
    print_written(plot, out)


_OF_SWEEP_ALONE = {
    *("cache", "layers", "views", "clfs", "plot", "out", "overwrite", "as_json"),
    *("nested", "backend", "jobs", "scheduler"),
}


def _fit_command(ctx: click.Context, result: "SweepResult") -> str:
    """Return the command that trains the row, with every option that is not `fit`'s default."""
    row = result.recommended
    configured = (ctx.find_root().default_map or {}).get("fit", {})  # bottleneck.toml has others
    arguments = {"cache": ctx.params["cache"], "clf": row.clf, "layers": row.layers}
    if result.has_views:
        arguments["views"] = row.views
    for option in ctx.command.params:
        name = option.name or ""
        value = ctx.params[name]
        is_default = ctx.get_parameter_source(name) is ParameterSource.DEFAULT
        if name in _OF_SWEEP_ALONE or value is None or (is_default and name not in configured):
            continue
        arguments[name] = "auto" if value == () else value  # as `GridOfC` has it
    return command_line(ctx, "fit", arguments)
