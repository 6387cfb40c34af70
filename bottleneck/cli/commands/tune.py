"""`bottleneck tune`."""

from pathlib import Path
from typing import Any

import click

from bottleneck.cli.interrupts import note_kept
from bottleneck.cli.option_groups import Command
from bottleneck.cli.options import (
    json_option,
    overwrite_option,
    take,
    take_transform,
    transform_options,
)
from bottleneck.cli.output import print_either, read_images, read_labels
from bottleneck.cli.progress import tuning_progress
from bottleneck.cli.tuning_options import machine_options, recipe_options, source_options
from bottleneck.cli.types import PATH


@click.command(cls=Command)
@click.argument("source", metavar="CACHE|IMAGES", type=PATH)
@source_options
@recipe_options
@machine_options
@transform_options
@click.option("-o", "--out", type=PATH, help="File of the result.  [tail-LAYER.safetensors]")
@overwrite_option
@json_option
def tune(
    source: Path,
    layer: str | None,
    labels: Path | None,
    out: Path | None,
    overwrite: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Train the layers behind a cached one, and say whether it pays.

    The layers behind --layer start from their pretrained weights, and the new output for your
    classes from a softmax head. They are trained on cached maps, so that the layers before them are
    never run again. The cache must have unpooled maps of the layer: from `extract --pool none`, or
    from `extract --layer NAME@none` beside codes. Every path through the network must pass the
    layer: a "cut" in the list of `layers`.

    With IMAGES in place of a cache, and --model, the whole network is trained, and each epoch sees
    new random changes of the images, as --augment says.

    A fifth of the training images is kept back to choose the learning rate; if that is few images,
    the best rate is tried with the other fifths kept back, too. If training does not improve on its
    start, the layers keep their pretrained weights; otherwise they are trained once more, on all
    training images. After that, the held-out split is used once. The result is printed beside the
    linear head on the same images, with a test of the difference, and one sentence says which of
    the two to take. `predict` and `evaluate` take the file as they take a head.

    A run that was killed continues when it is started again: its state is kept beside the result
    until the result is written.

    \b
    Example:
      bottleneck tune photos.cache --layer layer3
      bottleneck tune photos.cache --layer layer3 --init mlp --hidden 512 --lr 0.0003 --epochs 15
      bottleneck tune photos --model resnet50 --augment flip,crop,color -o network.safetensors
      bottleneck predict tail-layer3.safetensors new/*.jpg
    """
    from bottleneck import TuneOptions, open_cache
    from bottleneck import tune as run
    from bottleneck.cache import is_cache
    from bottleneck.finetuning import choose_boundary, process_group, rank, remove_states
    from bottleneck.fitting import Features
    from bottleneck.runtime import ignore_progress, require_writable_output

    transform = take_transform(options)
    if options["augmentations"] == ("none",):
        options["augmentations"] = ()
    chosen = take(TuneOptions, options)
    if is_cache(source):
        opened: Any = open_cache(source)
        layer = choose_boundary(opened, layer)
        given: Any = read_labels(opened, labels)
    else:
        opened, given = read_images(source), labels
    out = out or Path(f"tail-{Features((layer or '',)).file_name}.safetensors")
    require_writable_output(out, overwrite=overwrite)  # checked before the training
    state = out.with_name(f"{out.name}.training")
    with note_kept(), process_group(), tuning_progress() as on_progress:
        result = run(
            opened,
            layer=layer,
            options=chosen,
            labels=given,
            transform=transform,
            resume=state,
            on_progress=on_progress if rank() == 0 else ignore_progress,
            **options,
        )
        if rank():  # only the first of several processes writes and prints
            return
    result.tail.save(out)
    remove_states(state)  # kept until the result is written
    text = result.format(f"saved {out} ({result.seconds:.1f} s)")
    print_either(text, result.to_dict() | {"head": str(out)}, as_json=as_json)
