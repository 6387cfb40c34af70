"""Notes on a run, to be read before its work."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from bottleneck.data import ImageSource, decoding_notes
from bottleneck.extraction.setup.depth import depth_notes
from bottleneck.extraction.setup.views import ChosenViews
from bottleneck.input_transform import InputTransform

if TYPE_CHECKING:
    from bottleneck.backbones import Backbone
    from bottleneck.extraction.setup.precision import ChosenSpec


def setup_notes(
    source: ImageSource,
    backbone: "Backbone",
    layers: Sequence[str],
    chosen: "ChosenSpec",
    views: ChosenViews,
) -> tuple[str, ...]:
    """Return notes on decoders, pixels, their scale, network, precision and views.

    Parameters
    ----------
    source : ImageSource
        The images, of which up to 16 are opened.
    backbone : Backbone
    layers : sequence of str
        Names of its layers.
    chosen : ChosenSpec
    views : ChosenViews

    Returns
    -------
    tuple of str
        A line for each unusual fact; empty if there are none.
    """
    return (
        *decoding_notes(),
        *depth_notes(source, backbone.transform),
        *_scale_notes(backbone.transform),
        *backbone.notes(layers),
        *chosen.notes,
        *views.notes,
    )


def _scale_notes(transform: InputTransform) -> tuple[str, ...]:
    """Warn of a mean on the scale of 0 to 255: codes would be those of nearly equal images."""
    if max(transform.mean) <= 1:
        return ()
    mean = ",".join(f"{value:g}" for value in transform.mean)
    scaled = ",".join(f"{value / 255:.3g}" for value in transform.mean)
    return (
        f"WARNING: `mean` is {mean}, and pixels are from 0 to 1: on that scale it is {scaled}, "
        "and `std` is divided by 255 likewise",
    )
