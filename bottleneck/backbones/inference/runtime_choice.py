"""Choose the library that runs a truncated network: PyTorch, or OpenVINO where that pays.

OpenVINO's program of a network is not trusted: it is used only if its codes of two random images
are those of the network itself, within the tolerances of `bottleneck.backbones.probing.agreement`.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from bottleneck.backbones.inference.openvino_replica import (
    PRECISIONS,
    convert_network,
    openvino_version,
)
from bottleneck.backbones.inference.replica import Replica, TorchReplica
from bottleneck.backbones.inference.truncated import TruncatedNetwork
from bottleneck.backbones.probing.agreement import are_close
from bottleneck.backbones.tracing.traced import TracedNetwork
from bottleneck.backbones.user_code import describe_error
from bottleneck.errors import USER_CODE_EXCEPTIONS, InvalidOptionError
from bottleneck.spec import InputTransform

# Seconds of PyTorch's forward passes from which a conversion is tried. It takes one to three, and
# saves 5 to 40 % of them.
_WORTH = 20.0
_WORTH_A_WORD = 2.0  # seconds from which the user is told that it is not tried
_LEAST_GAIN = 1.05  # below it, a difference may be chance
_TURNS = 3  # of both, for the quickest pass of each
_TRIAL = 0.3  # seconds of a pass of a trial by PyTorch, unless so many images take longer:
_FEW = 4


@dataclass(frozen=True)
class RuntimeChoice:
    """What runs a network, and why.

    Attributes
    ----------
    replicas : sequence of Replica
        One for each thread.
    name : str
        ``"torch"``, or ``"openvino"`` with its version.
    note : str
        The reason, for the user; empty if there was nothing to choose.
    """

    replicas: Sequence[Replica]
    name: str = "torch"
    note: str = ""


def choose_runtime(
    runtime: str,
    by_torch: Sequence[TorchReplica],
    truncated: TruncatedNetwork,
    *,
    batch_size: int,
    images: int,
) -> RuntimeChoice:
    """Choose what runs a network; call it in a thread that runs it.

    Parameters
    ----------
    runtime : str
        ``"torch"``, ``"openvino"``, or ``"auto"``: OpenVINO if it is installed, gives the codes,
        and saves more time over the images than its conversion takes.
    by_torch : sequence of TorchReplica
        The network by PyTorch, one for each thread.
    truncated : TruncatedNetwork
        The same in float32.
    batch_size : int
        Images of a batch by which both are timed, at most.
    images : int
        Images, each counted once a view, that are to be encoded.

    Raises
    ------
    InvalidOptionError
        OpenVINO is asked for, and cannot run the network.
    """
    if runtime == "openvino":
        return _require_openvino(by_torch, truncated)
    first = by_torch[0]
    if runtime == "torch" or _obstacle(first):
        return RuntimeChoice(by_torch)
    each = _seconds(first, _random_images(1, first.transform))
    expected = each * images / len(by_torch)
    if expected < _WORTH:
        note = f"runtime: torch; {images} images are too few for a conversion to OpenVINO"
        return RuntimeChoice(by_torch, note=note if expected > _WORTH_A_WORD else "")
    start = time.perf_counter()
    converted = _convert(truncated, by_torch)
    if isinstance(converted, str):
        return RuntimeChoice(by_torch, note=f"runtime: torch, because {converted}")
    seconds = time.perf_counter() - start
    count = min(batch_size, max(_FEW, round(_TRIAL / each)))
    gain = _speed_ratio(first, converted[0], _random_images(count, first.transform))
    speed = f"{gain:.2f} times as fast as torch in a trial"
    if gain < _LEAST_GAIN:
        return RuntimeChoice(by_torch, note=f"runtime: torch; OpenVINO is {speed}")
    note = f"runtime: openvino, {speed}, converted in {seconds:.1f} s"
    return RuntimeChoice(converted, f"openvino {openvino_version()}", note)


def _require_openvino(
    by_torch: Sequence[TorchReplica], truncated: TruncatedNetwork
) -> RuntimeChoice:
    """Convert a network whatever it costs, or refuse to run it."""
    obstacle = _obstacle(by_torch[0])
    converted = obstacle or _convert(truncated, by_torch)
    if isinstance(converted, str):
        raise InvalidOptionError(
            "runtime",
            "openvino",
            f"torch or auto here, because {converted}",
            "OpenVINO runs float32 and bfloat16 on a CPU: "
            "pip install 'bottleneck-features[openvino]'",
        )
    return RuntimeChoice(converted, f"openvino {openvino_version()}", "runtime: openvino")


def _obstacle(replica: TorchReplica) -> str:
    """Return why OpenVINO cannot be tried; empty if it can."""
    if replica.device.type != "cpu":
        return f"the device is {replica.device}"
    if replica.dtype not in PRECISIONS:
        return f"the precision is {str(replica.dtype).removeprefix('torch.')}"
    if not isinstance(replica.forward, TracedNetwork):
        return "the network cannot be traced"
    return "" if openvino_version() else "OpenVINO is not installed"


def _convert(
    truncated: TruncatedNetwork, by_torch: Sequence[TorchReplica]
) -> Sequence[Replica] | str:
    """Convert a network for as many threads; or say why its codes cannot be had."""
    first = by_torch[0]
    try:
        converted = convert_network(truncated, first.transform, first.dtype, count=len(by_torch))
        images = _random_images(2, first.transform)
        rounded, codes = _tensors(first, images), _tensors(converted[0], images)
    except USER_CODE_EXCEPTIONS as error:
        return f"OpenVINO does not convert the network: {describe_error(error)}"
    exact = TorchReplica(truncated, first.transform, torch.float32, first.device)
    if not are_close(_tensors(exact, images), codes, first.dtype, rounded=rounded):
        return "OpenVINO's codes are not those of the network"
    return converted


def _random_images(count: int, transform: InputTransform) -> Tensor:
    noise = torch.Generator().manual_seed(0)
    shape = (count, transform.crop, transform.crop, 3)
    return torch.randint(256, shape, dtype=torch.uint8, generator=noise)


def _tensors(replica: Replica, images: Tensor) -> dict[str, Tensor]:
    return {layer: torch.from_numpy(code) for layer, code in replica(images).items()}


def _seconds(replica: Replica, images: Tensor) -> float:
    """Return the time of the quicker of two passes; the first one takes memory."""
    times = []
    for _ in range(2):
        start = time.perf_counter()
        replica(images)
        times.append(time.perf_counter() - start)
    return min(times)


def _speed_ratio(one: Replica, other: Replica, images: Tensor) -> float:
    """Return how many times as fast as the first the second is, by turns."""
    pairs = [(_seconds(one, images), _seconds(other, images)) for _ in range(_TURNS)]
    return min(first for first, _ in pairs) / min(second for _, second in pairs)
