"""`bottleneck fit`."""

import json
from pathlib import Path

import click

from bottleneck.cli.options import PATH, GridOfC, json_option, overwrite_option


@click.command()
@click.argument("cache", type=PATH)
@click.option("--clf", required=True, help="svm or softmax.")
@click.option("--layer", help="Needed where the cache has several.")
@click.option(
    "--c", type=GridOfC(), default="auto", show_default=True, help="C, by cross-validation."
)
@click.option("--cv", type=int, default=5, show_default=True, help="Folds; 0 for none.")
@click.option(
    "--preprocess",
    type=click.Choice(["standardize", "l2", "none"]),
    default="standardize",
    show_default=True,
    help="Done to the codes, fitted on training folds alone.",
)
@click.option(
    "--class-weight", type=click.Choice(["balanced"]), help="Every class counts the same."
)
@click.option("-o", "--out", type=PATH, help="The head.  [head-CLF-LAYER.safetensors]")
@overwrite_option
@json_option
def fit(
    cache: Path,
    clf: str,
    layer: str | None,
    c: tuple[float, ...],
    cv: int,
    preprocess: str,
    class_weight: str | None,
    out: Path | None,
    overwrite: bool,
    as_json: bool,
) -> None:
    """Train a linear classifier on cached codes.

    Needs no GPU, no images and no weights. C is chosen by cross-validation on the training split
    alone; the held-out split (test, or else val) is touched once, after the choice.

    \b
    Example:
      bottleneck fit photos.cache --clf svm --layer layer3
      bottleneck fit photos.cache --clf softmax --c 0.01,0.1,1 -o photos.head
    """
    from bottleneck import report
    from bottleneck.fit import choose_layer
    from bottleneck.fit import fit as run
    from bottleneck.head import require_new

    layer = choose_layer(cache, layer)
    out = out or Path(f"head-{clf}-{layer}.safetensors")
    require_new(out, overwrite=overwrite)  # before the work, not after it
    done = run(
        cache,
        clf=clf,
        layer=layer,
        c=c or None,
        cv=cv,
        preprocess=preprocess,
        class_weight=class_weight,
    )
    done.head.save(out)
    if as_json:
        click.echo(json.dumps(done.to_json() | {"head": str(out)}))
    else:
        click.echo(report.fit_text(done, str(out)))
