"""The probe: run an unchanged network on two random images, before any image of the user.

Its codes are the truth for every faster way of running the network. And they must be functions of
the image alone: a network with dropout left on, or one that normalises with statistics of the
batch, gives another code in each pass or beside other images.
"""

import random
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bottleneck.backbones.layers.truncated import TruncatedNetwork
from bottleneck.backbones.probing.agreement import difference
from bottleneck.backbones.probing.diverging_module import find_diverging_module
from bottleneck.backbones.probing.extreme_draws import ExtremeDraws
from bottleneck.backbones.sources.inspection.torchscript import module_types
from bottleneck.backbones.user_code import errors_in_one_line
from bottleneck.errors import USER_CODE_EXCEPTIONS, BackboneError
from bottleneck.runtime import format_count

# Largest difference of one image's codes in two passes, relative to their norm. Batches of other
# sizes are summed in another order, which changes float32 by 1e-5 at most; dropout and statistics
# of a batch change more than a hundredth.
_TOLERANCE = 1e-3

# Passes over an image if random numbers are drawn but two passes agree. Rare draws of PyTorch are
# provoked by `ExtremeDraws`; for those of Python and NumPy only repetition helps.
_REPETITIONS = 32

_EVALUATE = "switch that off for evaluation, as in F.dropout(x, p, training=self.training)"


@dataclass(frozen=True)
class Probe:
    """What is known of a network after two random images.

    Attributes
    ----------
    images : Tensor, shape (2, 3, height, width)
        Of `probe_images`.
    codes : dict of str to Tensor of float32, shape (2, *code_shape)
        Their codes in float32, by the network itself.
    takes_batches : bool
        Whether several images may be in one forward pass.
    """

    images: Tensor
    codes: dict[str, Tensor]
    takes_batches: bool


def probe_images(size: int) -> Tensor:
    """Return two random images: with one, a broadcast over the batch would not be noticed.

    Examples
    --------
    >>> probe_images(8).shape
    torch.Size([2, 3, 8, 8])
    """
    noise = torch.Generator("cpu").manual_seed(0)
    shape = (2, 3, size, size)
    return torch.randn(shape, generator=noise, dtype=torch.float32, device="cpu")


def probe(truncated: TruncatedNetwork, size: int) -> Probe:
    """Prove that the codes of a network are functions of the image.

    Two images pass the network: both together, then each alone.

    Parameters
    ----------
    truncated : TruncatedNetwork
        Of a network in float32 on the CPU. It stays as it is, and so do the random numbers of this
        process.
    size : int
        Height and width of the input in pixels.

    Raises
    ------
    BackboneError
        A code changes from pass to pass or with the other images of a batch; the message names
        the layer and the module that is the likely cause. Or the network fails.

    Examples
    --------
    >>> from torch import nn
    >>> from bottleneck.backbones.layers.listing import list_layers
    >>> network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8, track_running_stats=False))
    >>> probe(TruncatedNetwork(network.eval(), list_layers(network, 8)[:1]), 8).codes["0"].shape
    torch.Size([2, 8])
    >>> probe(TruncatedNetwork(network, list_layers(network, 8)), 8)
    Traceback (most recent call last):
    bottleneck.errors.BackboneError: the code at layer '1' is no function of the image...
    """
    images = probe_images(size)
    with errors_in_one_line("the network failed"), _random_numbers() as were_drawn:
        together = None if _rounds_by_the_batch(truncated) else _codes_of_both(truncated, images)
        # Afterwards, so that what a network keeps of its last pass is of one of the images: a copy
        # or a program that reads it, as of features that hooks have stored, gives other codes.
        alone = _codes_of_each(truncated, images)
        layer = _first_difference(together, alone) if together else None
        if layer or not together or were_drawn():
            _require_repeatable(truncated, images[1:], alone, were_drawn)
        if together and layer:
            raise _code_of_the_batch(truncated, images, layer, together[layer], alone[layer])
    return Probe(images, together or alone, takes_batches=together is not None)


def _codes_of_each(truncated: TruncatedNetwork, images: Tensor) -> dict[str, Tensor]:
    """Return the codes of both images, each from a pass of its own."""
    first, last = (truncated(image[None].clone()) for image in images)
    _require_rows(first, 1)
    return {layer: torch.cat([first[layer], last[layer]]) for layer in first}


def _codes_of_both(truncated: TruncatedNetwork, images: Tensor) -> dict[str, Tensor] | None:
    """Return the codes of both images from one pass; None if the network takes one image alone."""
    try:
        codes = truncated(images.clone())
    except USER_CODE_EXCEPTIONS:
        return None
    _require_rows(codes, len(images))
    return codes


def _require_rows(codes: dict[str, Tensor], images: int) -> None:
    """Refuse a layer without a row for each image, such as a table of positions."""
    for layer, code in codes.items():
        if len(code) != images:
            raise BackboneError(
                f"layer {layer!r} gives {' × '.join(map(str, code.shape))} numbers for "
                f"{format_count(images, 'image')}: "
                "its first axis is not the images",
                hint="take another layer",
            )


def _first_difference(codes: dict[str, Tensor], others: dict[str, Tensor]) -> str | None:
    """Return the first layer at which the codes of an image differ."""
    return next((each for each in codes if any(map(_differ, codes[each], others[each]))), None)


def _differ(code: Tensor, other: Tensor) -> bool:
    return difference(code, other) > _TOLERANCE


def _require_repeatable(
    truncated: TruncatedNetwork,
    image: Tensor,
    codes: dict[str, Tensor],
    were_drawn: Callable[[], bool],
) -> None:
    """Refuse a network that gives the last image other codes in another pass."""
    codes = {layer: code[-1:] for layer, code in codes.items()}
    contexts = _tries() if were_drawn() else [nullcontext()]
    for context in contexts:
        try:
            with context:
                again = truncated(image.clone())
        except BackboneError as error:
            raise BackboneError(
                f"{error} in a second pass over the same image: it draws random numbers",
                hint=_EVALUATE,
            ) from error
        layer = _first_difference(codes, again)
        if layer is None:
            continue
        why = "draws random numbers" if were_drawn() else "changes from pass to pass"
        module = find_diverging_module(truncated.network, image, image, tries=_tries())
        raise BackboneError(
            f"the code at layer {layer!r} is no function of the image: in two passes, an image's "
            f"codes differ by {difference(codes[layer], again[layer]):.1%}: "
            f"{module} {why}",
            hint=_EVALUATE,
        )


def _tries() -> list[AbstractContextManager[Any]]:
    """Return contexts of passes among which random numbers that change a code are likely to."""
    extremes = [ExtremeDraws(torch.amin), ExtremeDraws(torch.amax)]
    return [*extremes, *(nullcontext() for _ in range(_REPETITIONS))]


def _code_of_the_batch(
    truncated: TruncatedNetwork, images: Tensor, layer: str, together: Tensor, alone: Tensor
) -> BackboneError:
    if not _differ(together[-1], alone[-1]):  # then the first image's codes differ
        images, together, alone = images.flip(0), together.flip(0), alone.flip(0)
    module = find_diverging_module(truncated.network, images, images[1:])
    return BackboneError(
        f"the code at layer {layer!r} is no function of the image: alone and beside another, an "
        f"image's codes differ by {difference(together[-1], alone[-1]):.1%}: {module} uses "
        "statistics of the batch",
        hint="use running statistics (track_running_stats=True, and weights that have them), or "
        "normalise each image by itself",
    )


def _rounds_by_the_batch(truncated: TruncatedNetwork) -> bool:
    """Return whether a module is quantised dynamically: by the range of all images of a batch."""
    return any(".quantized.dynamic." in name for name in module_types(truncated.network))


@contextmanager
def _random_numbers() -> Iterator[Callable[[], bool]]:
    """Yield a check of whether random numbers were drawn; restore all generators afterwards."""
    of_torch, of_python = torch.get_rng_state(), random.getstate()
    of_numpy: Any = np.random.get_state()

    def were_drawn() -> bool:
        now: Any = np.random.get_state()
        same = torch.equal(of_torch, torch.get_rng_state()) and of_python == random.getstate()
        return not (same and all(map(np.array_equal, of_numpy, now)))

    try:
        yield were_drawn
    finally:
        torch.set_rng_state(of_torch)
        random.setstate(of_python)
        np.random.set_state(of_numpy)
