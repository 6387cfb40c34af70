"""Tracing of the truncated network into a straight program (torch.fx).

The program contains only what leads to the chosen layers, any number of threads may run it, and on
a CPU its convolutions are fused with what follows them (`bottleneck.backbones.tracing.fusion`).

The result of tracing is not trusted. A network that cannot be traced, or whose program gives other
codes for two random images than its own forward pass, is not traced.
"""

import copy
from dataclasses import dataclass
from math import prod
from typing import cast

import torch
from torch import Tensor, fx

from bottleneck.backbones.casting import cast_module, use_channels_last
from bottleneck.backbones.layers.truncated import TruncatedNetwork
from bottleneck.backbones.probing.agreement import are_close
from bottleneck.backbones.probing.probe import Probe
from bottleneck.backbones.tracing.functional import make_functional, remove_identity_nodes
from bottleneck.backbones.tracing.fusion import fuse, supports_fusion
from bottleneck.backbones.tracing.shapes import ShapeRecorder, layouts_of
from bottleneck.backbones.tracing.tracer import NetworkTracer
from bottleneck.errors import USER_CODE_EXCEPTIONS


@dataclass(frozen=True)
class TracedNetwork:
    """A forward pass as a program, which any number of threads may run at a time.

    Attributes
    ----------
    truncated : TruncatedNetwork
        What was traced: in float32 on the CPU, and unchanged.
    program : fx.GraphModule
    largest : int
        Number of values in the largest map of one image.
    """

    truncated: TruncatedNetwork
    program: fx.GraphModule
    largest: int

    def __call__(self, images: Tensor) -> dict[str, Tensor]:
        """Compute the codes of a batch.

        Parameters
        ----------
        images : Tensor, shape (n, 3, height, width)
            Normalised, on the program's device and in its precision.

        Returns
        -------
        dict of str to Tensor of float32, shape (n, *code_shape)
            By layer.
        """
        # Not by `__call__`: that of torch.fx prints a traceback when an operation fails.
        return cast("dict[str, Tensor]", self.program.forward(images))


def trace(
    truncated: TruncatedNetwork, probe: Probe, *, dtype: torch.dtype, device: torch.device
) -> TracedNetwork | None:
    """Trace the forward pass of a truncated network.

    Parameters
    ----------
    truncated : TruncatedNetwork
        Of a network in float32 on the CPU. The network is copied and stays as it is.
    probe : Probe
        Of that network.
    dtype : torch.dtype
        Of the program's weights and activations. Weights are folded before they are rounded.
    device : torch.device
        Of the program.

    Returns
    -------
    TracedNetwork or None
        None if the network cannot be traced, or its program would give other codes.

    Examples
    --------
    >>> from bottleneck.backbones.layers.listing import list_layers
    >>> from bottleneck.backbones.probing.probe import probe
    >>> from torch import nn
    >>> network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Flatten()).eval()
    >>> truncated = TruncatedNetwork(network, list_layers(network, size=8)[:2])
    >>> cpu = torch.device("cpu")
    >>> traced = trace(truncated, probe(truncated, 8), dtype=torch.float32, device=cpu)
    >>> {layer: tuple(code.shape) for layer, code in traced(torch.zeros(2, 3, 8, 8)).items()}
    {'0': (2, 8), '1': (2, 8)}
    """
    try:
        program = trace_float32(truncated, probe)
        if program is None:
            return None
        images, expected = probe.images.to(memory_format=torch.channels_last), probe.codes
        traced = TracedNetwork(truncated, program, _largest_map(program))
        plain = _same_modules(program)
        if supports_fusion(device, dtype):
            if dtype is not torch.float32 and not _fuses_rightly(program, images, expected):
                return None  # rounding would hide a small fault
            fuse(program, dtype)
        codes = _run(program, images, device, dtype)
        if are_close(expected, codes, dtype):
            return traced
        rounded = _run(plain, images, device, dtype)
        return traced if are_close(expected, codes, dtype, rounded=rounded) else None
    except USER_CODE_EXCEPTIONS:  # the network's own code, run on symbols
        return None


def trace_float32(truncated: TruncatedNetwork, probe: Probe) -> fx.GraphModule | None:
    """Return a network's program before its operations are fused, in float32 on the CPU.

    Parameters
    ----------
    truncated : TruncatedNetwork
    probe : Probe
        As `trace` takes them.

    Returns
    -------
    fx.GraphModule or None
        From images to the codes by layer, with the layout of each result in ``node.meta``. None if
        it would write into what is read elsewhere, or gives other codes.

    Raises
    ------
    Exception
        Whatever the network raises when it is run on symbols.
    """
    program = trace_functional(truncated, probe.images.shape[-1])
    if program is None:
        return None
    with torch.inference_mode():
        codes = ShapeRecorder(program).run(probe.images.to(memory_format=torch.channels_last))
    # Found before it is rounded, which deep networks amplify.
    return program if are_close(probe.codes, codes, torch.float32) else None


def trace_functional(truncated: TruncatedNetwork, size: int) -> fx.GraphModule | None:
    """Return a network's program in float32; None where it writes into what is read elsewhere.

    Parameters
    ----------
    truncated : TruncatedNetwork
        Of a network in float32 on the CPU, which is copied.
    size : int
        Height and width of the input in pixels.

    Raises
    ------
    Exception
        Whatever the network raises when it is run on symbols.

    Examples
    --------
    >>> from bottleneck.backbones.layers.listing import list_layers
    >>> from torch import nn
    >>> network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Dropout()).eval()
    >>> program = trace_functional(TruncatedNetwork(network, list_layers(network, size=8)), 8)
    >>> sorted(program.forward(torch.zeros(2, 3, 8, 8)))
    ['0', '1']
    """
    program = NetworkTracer(truncated.network, truncated.hooks, size).trace_program()
    remove_identity_nodes(program)
    return program if make_functional(program) else None


def _fuses_rightly(program: fx.GraphModule, images: Tensor, expected: dict[str, Tensor]) -> bool:
    """Return whether a program in float32 gives its codes once it is fused."""
    fused = _same_modules(program)
    fuse(fused, torch.float32)
    codes = _run(fused, images, images.device, torch.float32)
    return are_close(expected, codes, torch.float32)


def _same_modules(program: fx.GraphModule) -> fx.GraphModule:
    """Return a program that shares its modules with another, and whose graph is its own."""
    return fx.GraphModule(program, copy.deepcopy(program.graph))


def _run(
    program: fx.GraphModule, images: Tensor, device: torch.device, dtype: torch.dtype
) -> dict[str, Tensor]:
    """Bring a program to a device and precision, and run it."""
    use_channels_last(cast_module(program, device, dtype))
    with torch.inference_mode():
        return cast("dict[str, Tensor]", program.forward(images.to(device, dtype)))


def _largest_map(program: fx.GraphModule) -> int:
    layouts = (each for node in program.graph.nodes for each in layouts_of(node))
    return max(prod(layout.shape[1:]) for layout in layouts)
