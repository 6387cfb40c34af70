"""A truncated network recorded as a CUDA graph: one launch a batch in place of some hundred."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import cast

import torch
from torch import Tensor

from bottleneck.backbones.inference.replica import FixedBatchReplica, TorchReplica
from bottleneck.backbones.layers.truncated import Forward
from bottleneck.backbones.tracing.traced import TracedNetwork

_WARM_UPS = 3  # passes before recording: libraries choose kernels and take memory

Codes = dict[str, Tensor]


class GraphReplica(FixedBatchReplica):
    """A CUDA graph of the forward pass of a `TorchReplica`, normalisation included.

    Parameters
    ----------
    replica : TorchReplica
        Of a traced network on a GPU.
    batch_size : int
        Images in a pass.

    Raises
    ------
    RuntimeError
        An operation cannot be recorded, or there is not enough memory.
    """

    def __init__(self, replica: TorchReplica, batch_size: int) -> None:
        side, device = replica.transform.crop, replica.device
        with torch.inference_mode():
            pixels = torch.zeros((batch_size, side, side, 3), dtype=torch.uint8, device=device)
            replay, codes = record(partial(replica.compute, pixels), device)
        super().__init__(replay, pixels, codes)


def record(compute: Callable[[], Codes], device: torch.device) -> tuple[Callable[[], None], Codes]:
    """Record a computation on a GPU.

    Parameters
    ----------
    compute : callable
        Computes codes from memory that stays.
    device : torch.device

    Returns
    -------
    replay : callable
        Computes it again, in the current stream.
    codes : dict of str to Tensor
        Where the codes are afterwards.

    Raises
    ------
    RuntimeError
        An operation cannot be recorded, or there is not enough memory.
    """
    with torch.cuda.device(device):
        stream = torch.cuda.Stream()  # type: ignore[no-untyped-call, unused-ignore]
        stream.wait_stream(torch.cuda.current_stream())
        # Of its own: `torch.cuda.graph` does not leave the stream of a recording that fails.
        with torch.cuda.stream(stream):
            for _ in range(_WARM_UPS):
                compute()
            graph = torch.cuda.CUDAGraph()
            # Other threads may use the device meanwhile.
            with torch.cuda.graph(graph, stream=stream, capture_error_mode="thread_local"):
                codes = compute()
    return graph.replay, codes


def compile_replicas(replicas: Sequence[TorchReplica]) -> list[TorchReplica]:
    """Return replicas whose programs PyTorch's compiler compiles when they are first run.

    Parameters
    ----------
    replicas : sequence of TorchReplica
        Of traced networks; those that are the same stay so.
    """
    compiled = {
        replica: TorchReplica(
            _compile(replica.forward), replica.transform, replica.dtype, replica.device
        )
        for replica in dict.fromkeys(replicas)
    }
    return [compiled[replica] for replica in replicas]


def _compile(forward: Forward) -> Forward:
    assert isinstance(forward, TracedNetwork)
    return cast("Forward", torch.compile(forward.program.forward, dynamic=False))
