"""Options that several commands share."""

import dataclasses
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from itertools import chain
from typing import Any, TypeVar

import click
from click.core import ParameterSource

from bottleneck import open_executor
from bottleneck.cli.option_groups import Decorator, option_group
from bottleneck.cli.types import PATH, Names, Numbers, Range, Size
from bottleneck.errors import InvalidOptionError
from bottleneck.input_transform import DECODERS, FITS, INTERPOLATIONS
from bottleneck.runtime import BACKENDS, PRECISIONS, RUNTIMES, Executor

T = TypeVar("T")

# Headings in help texts.
_COMPUTATION, _WORKERS = "Computation", "Several processes or machines"

json_option = click.option("as_json", "--json", is_flag=True, help="Print JSON for programs.")

force_option = click.option("--force", is_flag=True, help="Run even if the disk is too small.")

shard_options = option_group(
    _COMPUTATION,
    click.option(
        "--workers",
        type=int,
        help="Threads that read images, and for a GPU decode them.  [one per core]",
    ),
    click.option("--shard-size", type=int, help="Rows per shard.  [4096, fewer for large codes]"),
)

labels_option = click.option(
    "--labels",
    type=PATH,
    help="CSV path,label[,split][,group] of labels that replace those in the cache.",
)

class_weight_option = click.option(
    "--class-weight",
    type=click.Choice(["balanced"]),
    help="Weight images so that every class counts the same.",
)


def memory_option(text: str) -> Decorator:
    """Return ``--memory``, a number of bytes; with its help."""
    return click.option("--memory", type=Size(), help=text)


def device_option(what: str = "Device") -> Decorator:
    """Return ``--device``, which is chosen unless given; its help says what it is."""
    return click.option(
        "--device", default="auto", show_default=True, help=f"{what}: auto, cpu, cuda or cuda:N."
    )


device_options = option_group(
    _COMPUTATION,
    device_option(),
    click.option(
        "--runtime",
        type=click.Choice(RUNTIMES),
        default="auto",
        show_default=True,
        help="What runs the network. auto: PyTorch; or OpenVINO on a CPU, a CUDA graph on a GPU, "
        "where a short trial shows that it saves time.",
    ),
    click.option(
        "--batch-size",
        type=int,
        help="Images per forward pass.  [chosen for the network and the device]",
    ),
    click.option(
        "--max-pixels",
        type=int,
        help="Reject images of more pixels than this.  [89478485]",
    ),
)

_scheduler_option = click.option(
    "--scheduler", metavar="ADDRESS", help="Address of the Dask scheduler: tcp://host:8786."
)

executor_options = option_group(
    _WORKERS,
    click.option(
        "--backend",
        type=click.Choice(BACKENDS),
        help="Compute in parallel: loky uses processes of this machine, dask a cluster.",
    ),
    click.option(
        "--jobs",
        type=click.IntRange(min=1),
        help="Number of loky processes.  [one per GPU; without GPUs one per four cores]",
    ),
    _scheduler_option,
)


def take_executor(
    options: dict[str, Any], gpus: Sequence[str] = ()
) -> AbstractContextManager[Executor | None]:
    """Take `executor_options`, or `cluster_options`, out of a command's options.

    Returns
    -------
    context manager
        It opens the executor; None means to compute in this process.

    Raises
    ------
    InvalidOptionError
        An option was given that needs a backend.
    """
    names = ("backend", "jobs", "scheduler")
    backend, jobs, scheduler = (options.pop(name, None) for name in names)
    if backend is None:
        if jobs is not None:
            raise InvalidOptionError("jobs", jobs, "given with `backend=loky`")
        if scheduler is not None:
            raise InvalidOptionError("scheduler", scheduler, "given with `backend=dask`")
        return nullcontext()
    return open_executor(backend, jobs=jobs, scheduler=scheduler, gpus=gpus)


def require_typed_code(
    ctx: click.Context, parameter: click.Parameter, model: str | None
) -> str | None:
    """Return a model, unless it is code that the user has never given; a callback for click.

    `bottleneck.toml` is untrusted input, like the folder that holds it: it cannot cause a
    ``file.py:factory`` to be executed. A model on the command line was typed by the user.

    Raises
    ------
    UntrustedCodeError
        `bottleneck.toml` names code that is not trusted yet.
    """
    from bottleneck.runtime import require_trusted_code, trust_code

    if model is None:
        return None
    if ctx.get_parameter_source(parameter.name or "") is ParameterSource.COMMANDLINE:
        trust_code(model)
        return model
    return require_trusted_code(model, where="bottleneck.toml")


def _join_names(
    _context: click.Context, _parameter: click.Parameter, names: tuple[tuple[str, ...], ...]
) -> tuple[str, ...] | None:
    """Return the names of a repeatable option as one tuple, None without any; a click callback."""
    return tuple(chain(*names)) or None


def names_option(option: str, parameter: str, **attributes: Any) -> Decorator:
    """Return an option of names with commas between them, which may be given several times."""
    return click.option(
        option, parameter, type=Names(), multiple=True, callback=_join_names, **attributes
    )


# These decide codes.
network_options = option_group(
    "Network and codes",
    click.option(
        "--model",
        required=True,
        callback=require_typed_code,
        help="A torchvision name, timm:NAME, hf-hub:ORG/NAME, or path/to/file.py:factory.",
    ),
    click.option(
        "--weights",
        default="DEFAULT",
        show_default=True,
        help="DEFAULT, a torchvision weights name, none, or a file (.pth, .ckpt, …).",
    ),
    names_option(
        "--layer",
        "layers",
        required=True,
        help="Name of a layer; may be given several times. NAME@2x2 or NAME@max sets the pooling "
        "of this layer alone.",
    ),
    names_option(
        "--pool",
        "pool",
        help="Spatial pooling: avg, max, none, N for an N×N grid of averages, or cls for the "
        "class token of a transformer. May be given several times: every layer gets each.  "
        "[the cache's; avg in a new cache]",
    ),
    click.option(
        "--relu/--no-relu", default=True, show_default=True, help="Apply ReLU before pooling."
    ),
    click.option(
        "--dtype",
        type=click.Choice(["float16", "float32"]),
        help="Data type of stored codes.  [float16]",
    ),
    click.option(
        "--precision",
        type=click.Choice(["auto", *PRECISIONS]),
        default="auto",
        show_default=True,
        help="Data type of weights and activations; auto: the fastest that the device "
        "has and the network allows.",
    ),
)

# These replace fields of the transform that the weights come with.
transform_options = option_group(
    "Preprocessing, in place of that of the weights",
    click.option(
        "--resize",
        type=click.IntRange(min=1),
        help="Resize the shorter side to this many pixels.",
    ),
    click.option(
        "--crop",
        type=click.IntRange(min=1),
        help="Side of the square that is cut out of the centre, in pixels.",
    ),
    click.option("--mean", type=Numbers(), help="Mean of each channel, on the scale 0 to 1."),
    click.option(
        "--std", type=Numbers(), help="Standard deviation of each channel, on the scale 0 to 1."
    ),
    click.option(
        "--interpolation",
        type=click.Choice(INTERPOLATIONS),
        help="Interpolation for resizing.",
    ),
    click.option(
        "--fit",
        type=click.Choice(FITS),
        help="Cut out the centre, resize without keeping proportions, or pad with the mean "
        "colour.  [crop]",
    ),
    click.option(
        "--range",
        type=Range(),
        help="Values that become black and white, for images of 16 bits or floating-point pixels; "
        "auto: percentiles 0.1 and 99.9 of the images.  [the high byte of 16 bits]",
    ),
    click.option(
        "--decoder",
        type=click.Choice(list(DECODERS)),
        help="fast: decode large JPEGs at 1/2, 1/4 or 1/8 of their size, but no smaller than twice "
        "the size that they are resized to. gpu: decode and resize JPEGs on an NVIDIA GPU. Both "
        "change codes a little.  [exact]",
    ),
)

# Other pictures that are made of each image.
view_options = option_group(
    "Views",
    click.option(
        "--views",
        type=int,
        help="Number of views of each image, with the image itself.  [the cache's; 1 in a new "
        "cache]",
    ),
    names_option(
        "--augment",
        "augmentations",
        help="Random changes that make the other views: flip, crop, rotate (by quarter turns), "
        "color.  [flip,crop]",
    ),
    click.option(
        "--view-seed",
        "seed",
        type=int,
        help="Random seed of the other views.  [0]",
    ),
)


def take(kind: type[T], options: dict[str, Any], **known: Any) -> T:
    """Take the fields of an options class out of a command's options, and build the class.

    Parameters
    ----------
    kind : type
        A dataclass of options.
    options : dict
        The command's options by parameter; those that are fields of `kind` are removed.
    known
        Fields that the command determines itself.

    Raises
    ------
    InvalidOptionError
        A value is not allowed.
    """
    names = [field.name for field in dataclasses.fields(kind)]  # type: ignore[arg-type]
    return kind(**{name: options.pop(name) for name in names if name in options}, **known)


def take_transform(options: dict[str, Any]) -> dict[str, Any]:
    """Take those of `transform_options` out of a command's options."""
    names = ("resize", "crop", "mean", "std", "interpolation", "fit", "range", "decoder")
    return {name: options.pop(name) for name in names}


# For a network that has moved since extraction.
relocated_model_options = option_group(
    "Network, if it has moved",
    click.option(
        "--model",
        callback=require_typed_code,
        help="New location of the network, if it moved. A file.py:factory is executed.",
    ),
    click.option("--weights", help="New location of the same weights, if they moved."),
)

# For a head.
views_option = click.option(
    "--views",
    type=click.IntRange(min=1),
    help="Number of views of each image, whose scores are averaged; 1: the image alone.  [the "
    "head's]",
)

cluster_options = option_group(
    _WORKERS,
    click.option(
        "--backend", type=click.Choice(["dask"]), help="Compute on a Dask cluster.  [this machine]"
    ),
    _scheduler_option,
)

overwrite_option = click.option("--overwrite", is_flag=True, help="Replace an existing file.")
