"""What a user should know of a run before its work."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from bottleneck.data import ImageSource, decoding_notes
from bottleneck.extraction.setup.depth import depth_notes
from bottleneck.extraction.setup.views import ChosenViews

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
    """Return what to know of decoders, pixels, network, weights, precision and views.

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
        A line each; none of what is as usual.
    """
    return (
        *decoding_notes(),
        *depth_notes(source, backbone.transform),
        *backbone.notes(layers),
        *chosen.notes,
        *views.notes,
    )
