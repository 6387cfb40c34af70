"""Choose how PyTorch runs a truncated network: as a traced program, or by its own modules."""

from collections.abc import Sequence
from contextlib import suppress

import torch

from bottleneck.backbones.inference.untraced import UntracedNetwork
from bottleneck.backbones.layers.truncated import TruncatedNetwork
from bottleneck.backbones.probing.agreement import TOLERANCE
from bottleneck.backbones.probing.probe import probe
from bottleneck.backbones.tracing.traced import TracedNetwork, trace
from bottleneck.errors import BackboneError

# Images up to which a network is run by its own modules: a batch of them. To trace and fuse one
# takes 0.1 to 3 s more, and saves at most 7 ms an image: for seven networks in two precisions,
# what 38 images save, and often hundreds.
_FEW = 16

# Largest difference of their codes from those in float32. In bfloat16 it may be rounding, which
# deep networks amplify, and a program's is nearly the same: EfficientNet-lite0 2.2 %, traced 2.0.
_CLOSE = {**TOLERANCE, torch.bfloat16: 0.1}


def choose_forwards(
    truncated: TruncatedNetwork,
    size: int,
    *,
    dtype: torch.dtype,
    devices: Sequence[torch.device],
    images: int | None = None,
) -> Sequence[TracedNetwork | UntracedNetwork]:
    """Return what runs a network: a program for each device, or the network itself on the first.

    Parameters
    ----------
    truncated : TruncatedNetwork
        Of a network in float32 on the CPU, which is copied.
    size : int
        Height and width of the input in pixels.
    dtype : torch.dtype
        Of weights and activations.
    devices : sequence of torch.device
    images : int, optional
        Images that are to be encoded, each counted once a view, if that is known. For a few of them
        the network's own modules give the codes, without the program that is faster later on.

    Raises
    ------
    BackboneError
        A code is no function of its image, or the network can be neither traced nor copied.
    PrecisionError
        The network works in float32, and not in this precision.

    Examples
    --------
    >>> from bottleneck.backbones.layers.listing import list_layers
    >>> network = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3)).eval()
    >>> truncated = TruncatedNetwork(network, list_layers(network, size=8))
    >>> cpu = torch.device("cpu")
    >>> for images in (1, 1000):
    ...     (forward,) = choose_forwards(
    ...         truncated, 8, dtype=torch.float32, devices=[cpu], images=images
    ...     )
    ...     print(type(forward).__name__)
    UntracedNetwork
    TracedNetwork
    """
    probed = probe(truncated, size)
    if images is not None and images <= _FEW:
        with suppress(BackboneError):  # a program may succeed
            untraced = UntracedNetwork(truncated, probed, dtype=dtype, device=devices[0])
            if untraced.deviation <= _CLOSE[dtype]:
                return [untraced]
    traced = [
        trace(truncated, probed, dtype=dtype, device=device) if probed.takes_batches else None
        for device in devices
    ]
    programs = [program for program in traced if program]
    if len(programs) == len(devices):
        return programs
    return [UntracedNetwork(truncated, probed, dtype=dtype, device=devices[0])]
