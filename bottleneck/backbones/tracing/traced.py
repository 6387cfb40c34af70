"""Tracing of the truncated network into a straight program (torch.fx).

The program contains only what leads to the chosen layers, any number of threads may run it, and on
a CPU its convolutions are fused with what follows them (`bottleneck.backbones.tracing.fusion`).

The result of tracing is not trusted. A network that cannot be traced, or whose program gives other
codes for two random images than its own forward pass, is not traced. It is compared in float32,
before and after it is fused: rounding to a lower precision would hide a small fault.
"""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from math import inf, prod
from typing import cast

import torch
from torch import Tensor, fx
from torch.fx.passes.shape_prop import TensorMetadata

from bottleneck.backbones.inference.casting import cast_module, use_channels_last
from bottleneck.backbones.inference.truncated import TruncatedNetwork
from bottleneck.backbones.probing.probe import probe_images
from bottleneck.backbones.tracing.functional import make_functional
from bottleneck.backbones.tracing.fusion import fuse, supports_fusion
from bottleneck.backbones.tracing.shapes import ShapeRecorder
from bottleneck.backbones.tracing.tracer import trace_program
from bottleneck.errors import USER_CODE_EXCEPTIONS

Forward = Callable[[Tensor], dict[str, Tensor]]

# Largest allowed difference of a layer's codes from those in float32, relative to their norm.
_TOLERANCE = {torch.float32: 1e-4, torch.bfloat16: 0.015, torch.float16: 0.005}
# Or so many times what rounding makes of the network itself, which deep networks amplify: those of
# EfficientNet-lite0 in bfloat16 are 0.031 from its own, and 0.027 once operations are fused.
_OWN_ROUNDING = 2.0
_TINY = 1e-300


@dataclass(frozen=True)
class TracedNetwork:
    """A forward pass as a program, which any number of threads may run at a time.

    Attributes
    ----------
    program : fx.GraphModule
    largest : int
        Number of values in the largest map of one image.
    """

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
    truncated: TruncatedNetwork,
    size: int,
    *,
    dtype: torch.dtype,
    device: torch.device,
    expected: dict[str, Tensor] | None = None,
) -> TracedNetwork | None:
    """Trace the forward pass of a truncated network.

    Parameters
    ----------
    truncated : TruncatedNetwork
        Of a network in float32 on the CPU. The network is copied and stays as it is.
    size : int
        Height and width of the input in pixels.
    dtype : torch.dtype
        Of the program's weights and activations. Weights are folded before they are rounded.
    device : torch.device
        Of the program.
    expected : dict of str to Tensor, optional
        Codes of `probe_images` by the network itself, if they are known.

    Returns
    -------
    TracedNetwork or None
        None if the network cannot be traced, or its program would give other codes.

    Examples
    --------
    >>> from bottleneck.backbones.layers import list_layers
    >>> from torch import nn
    >>> network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Flatten()).eval()
    >>> truncated = TruncatedNetwork(network, list_layers(network, size=8)[:2])
    >>> traced = trace(truncated, 8, dtype=torch.float32, device=torch.device("cpu"))
    >>> {layer: tuple(code.shape) for layer, code in traced(torch.zeros(2, 3, 8, 8)).items()}
    {'0': (2, 8), '1': (2, 8)}
    """
    images = probe_images(size).to(memory_format=torch.channels_last)
    try:
        if expected is None:
            expected = truncated(probe_images(size))
        program = trace_program(truncated, size)
        if not make_functional(program):
            return None
        with torch.inference_mode():
            codes = ShapeRecorder(program).run(images)
        if not _are_close(expected, codes, torch.float32):
            return None  # found before it is rounded
        traced = TracedNetwork(program, _largest_map(program))
        if supports_fusion(device, dtype):
            if dtype is not torch.float32 and not _fuses_rightly(program, images, expected):
                return None
            fuse(program, dtype)
        use_channels_last(cast_module(program, device, dtype))
        with torch.inference_mode():
            codes = traced(images.to(device, dtype))
        if _are_close(expected, codes, dtype):
            return traced
        rounded = {}
        if dtype is not torch.float32:
            rounded = _rounded(truncated, device, dtype)(images.to(device, dtype))
    except USER_CODE_EXCEPTIONS:  # the network's own code, run on symbols
        return None
    return traced if _are_close(expected, codes, dtype, rounded) else None


def _fuses_rightly(program: fx.GraphModule, images: Tensor, expected: dict[str, Tensor]) -> bool:
    """Return whether the program gives its codes once it is fused, in float32."""
    fused = copy.deepcopy(program)
    fuse(fused, torch.float32)
    with torch.inference_mode():
        return _are_close(expected, fused.forward(images), torch.float32)


def _rounded(
    truncated: TruncatedNetwork, device: torch.device, dtype: torch.dtype
) -> TruncatedNetwork:
    """Return a copy of the network itself in a lower precision."""
    network = use_channels_last(cast_module(copy.deepcopy(truncated.network), device, dtype))
    return TruncatedNetwork(network, truncated.layers, relu=truncated.relu, pool=truncated.pool)


def _largest_map(program: fx.GraphModule) -> int:
    metas = (node.meta.get("tensor_meta") for node in program.graph.nodes)
    return max(prod(meta.shape[1:]) for meta in metas if isinstance(meta, TensorMetadata))


def _are_close(
    expected: dict[str, Tensor],
    codes: dict[str, Tensor],
    dtype: torch.dtype,
    rounded: dict[str, Tensor] | None = None,
) -> bool:
    """Return whether codes are within the tolerance, or near those of the rounded network."""
    if codes.keys() != expected.keys():
        return False
    for layer, code in expected.items():
        own = _deviation(code, rounded[layer]) if rounded else 0.0
        if not _deviation(code, codes[layer]) <= max(_TOLERANCE[dtype], _OWN_ROUNDING * own):
            return False
    return True


def _deviation(expected: Tensor, code: Tensor) -> float:
    """Return the norm of the difference relative to that of the code; NaN for codes with NaN."""
    if code.shape != expected.shape:
        return inf
    a, b = expected.double().cpu(), code.double().cpu()
    return float((a - b).norm() / a.norm().clamp(min=_TINY))
