"""The precision of a run: the fastest one, or float32 if the network does not run in that."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from bottleneck.backbones import Backbone
from bottleneck.cache import Cache
from bottleneck.errors import PrecisionError
from bottleneck.extraction.encoding.encoder import Encoder
from bottleneck.extraction.options import ComputeOptions
from bottleneck.extraction.setup.loading import make_spec
from bottleneck.runtime import resolve_precision
from bottleneck.spec import Spec

# Largest difference of codes from those in float32, relative to their norm, that is taken for
# rounding. Deep networks differ by some hundredths in bfloat16.
_LARGEST_DEVIATION = 0.25


@dataclass(frozen=True)
class ChosenSpec:
    """The spec of a run.

    Attributes
    ----------
    spec : Spec
    encoder : Encoder or None
        Of the run's layers, if it took one to choose the precision.
    notes : tuple of str
        Why the precision is not the fastest; empty if it is.
    """

    spec: Spec
    encoder: Encoder | None
    notes: tuple[str, ...]


def choose_spec(
    backbone: Backbone,
    layers: Sequence[str],
    devices: Sequence[torch.device],
    *,
    compute: ComputeOptions,
    existing: Cache | None = None,
    relu: bool,
    pool: str,
) -> ChosenSpec:
    """Choose the precision, and return the spec with it.

    It is the one that is asked for. ``"auto"`` means that of an existing cache; for a new one the
    fastest with float32's range, or float32 if the network does not run in that.

    Parameters
    ----------
    backbone : Backbone
    layers : sequence of str
        Names of the run's layers.
    devices : sequence of torch.device
        Devices of one kind.
    compute : ComputeOptions
        `precision` is used, and what an encoder uses.
    existing : Cache, optional
        The cache, if it exists.
    relu : bool
        Whether negative activations are set to zero before pooling.
    pool : str
        One of `bottleneck.pooling.POOLINGS`, or a grid's side as digits.

    Raises
    ------
    BackboneError
        A code is no function of its image, or the network fails in any precision.
    InvalidOptionError, UnknownNameError
        There is no such precision, pooling or layer.
    """

    def spec_in(precision: str) -> Spec:
        return make_spec(backbone, precision=precision, relu=relu, pool=pool)

    def encoder_in(precision: str) -> Encoder:
        needed = backbone.select_layers(layers)
        encoder = Encoder(backbone, needed, spec_in(precision), devices, compute=compute)
        _require_close(encoder, precision)
        return encoder

    asked = compute.precision
    if asked == "auto" and existing is not None:
        asked = existing.spec.precision  # of a later program it may be one that there is not here
    precision = resolve_precision(asked, devices[0])
    has_codes = existing is not None and bool(existing.layers)
    if compute.precision != "auto" or has_codes or precision == "float32":
        return ChosenSpec(spec_in(precision), None, ())
    try:
        return ChosenSpec(spec_in(precision), encoder_in(precision), ())
    except PrecisionError as error:
        note = f"precision: float32, because {error.problem}"
    return ChosenSpec(spec_in("float32"), encoder_in("float32"), (note,))


def _require_close(encoder: Encoder, precision: str) -> None:
    """Refuse a precision in which codes differ from those in float32 by more than rounding."""
    deviation = encoder.runner.deviation
    if deviation <= _LARGEST_DEVIATION:
        return
    how = (
        f"differ by {deviation:.0%} from" if math.isfinite(deviation) else "are not finite, unlike"
    )
    names = ", ".join(layer.name for layer in encoder.layers)
    raise PrecisionError(
        f"the codes of {names} in {precision} {how} those in float32",
        parameter="precision",
        value=precision,
        allowed="float32",
        hint="`precision=float32` works",
    )
