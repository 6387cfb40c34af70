"""Choose what runs a truncated network: PyTorch, or on a CPU OpenVINO where that pays.

OpenVINO's program of a network is not trusted: it is used only if its codes of two random images
are those of the network itself, within the tolerances of `bottleneck.backbones.probing.agreement`.
"""

import time
from collections.abc import Sequence

from bottleneck.backbones.inference.gpu_runtime import choose_on_gpu
from bottleneck.backbones.inference.openvino_replica import convert_network, openvino_version
from bottleneck.backbones.inference.replica import Replica, TorchReplica
from bottleneck.backbones.inference.runtime_trial import (
    LEAST_GAIN,
    RuntimeChoice,
    gives_its_codes,
    random_images,
    seconds_of,
    speed_ratio,
)
from bottleneck.backbones.tracing.traced import TracedNetwork
from bottleneck.backbones.user_code import describe_error
from bottleneck.errors import USER_CODE_EXCEPTIONS, InvalidOptionError
from bottleneck.runtime import installation

# A conversion takes as long as 10 to 120 images by PyTorch in one thread, half a second to three,
# and saves up to 45 % of the forward passes (docs/benchmarks/runtimes.md). It is tried where a
# thread has this many images or more, but not below the first number of seconds, and always from
# the second.
_WORTH_IMAGES, _WORTH_SECONDS = 800, (4.0, 20.0)
_LEAST_NOTED_SECONDS = 2.0  # of forward passes, from which a note says that it is not tried

# The time of a pass of a trial, of which there are twelve: a part of the forward passes, or
# seconds, whichever is less.
_TRIAL_PART, _TRIAL_SECONDS = 1 / 240, 0.3
_FEW = 4  # images, at least

_INSTALLATION = installation("openvino")


def choose_runtime(
    runtime: str,
    by_torch: Sequence[TorchReplica],
    *,
    batch_size: int,
    images: int,
) -> RuntimeChoice:
    """Choose what runs a network; call it in a thread that runs it.

    Parameters
    ----------
    runtime : str
        ``"torch"``, ``"openvino"``, or ``"auto"``: OpenVINO if it is installed, gives the codes,
        and saves more time over the images than its conversion takes; where it is missing and may
        do so, the note says how to install it. On a GPU, what
        `bottleneck.backbones.inference.gpu_runtime` chooses.
    by_torch : sequence of TorchReplica
        The network by PyTorch, one for each thread.
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
        return _require_openvino(by_torch)
    first = by_torch[0]
    if runtime == "auto" and first.device.type == "cuda":
        return choose_on_gpu(by_torch, batch_size=batch_size, images=images)
    if runtime == "torch" or _obstacle(first):
        return RuntimeChoice(by_torch)
    return _choose_on_cpu(by_torch, batch_size=batch_size, images=images)


def _choose_on_cpu(
    by_torch: Sequence[TorchReplica],
    *,
    batch_size: int,
    images: int,
) -> RuntimeChoice:
    """Convert a network where that may pay, and take what is faster."""
    first = by_torch[0]
    each = seconds_of(first, random_images(1, first.transform))
    expected = each * images / len(by_torch)
    least, most = _WORTH_SECONDS
    worth_it = expected >= min(max(each * _WORTH_IMAGES, least), most)
    if not openvino_version():
        note = f"runtime: torch; OpenVINO is not installed, and may be faster: {_INSTALLATION}"
        return RuntimeChoice(by_torch, note=note if worth_it else "")
    if not worth_it:
        note = f"runtime: torch; {images} images are too few for a conversion to OpenVINO"
        return RuntimeChoice(by_torch, note=note if expected > _LEAST_NOTED_SECONDS else "")
    start = time.perf_counter()
    converted = _convert(by_torch)
    if isinstance(converted, str):
        return RuntimeChoice(by_torch, note=f"runtime: torch, because {converted}")
    seconds = time.perf_counter() - start
    of_a_pass = min(_TRIAL_PART * expected, _TRIAL_SECONDS)
    count = min(batch_size, max(_FEW, round(of_a_pass / each)))
    gain = speed_ratio(first, converted[0], random_images(count, first.transform))
    speed = f"{gain:.2f} times as fast as torch in a trial"
    if gain < LEAST_GAIN:
        return RuntimeChoice(by_torch, note=f"runtime: torch; OpenVINO is {speed}")
    note = f"runtime: openvino, {speed}, converted in {seconds:.1f} s"
    return RuntimeChoice(converted, f"openvino {openvino_version()}", note)


def _require_openvino(by_torch: Sequence[TorchReplica]) -> RuntimeChoice:
    """Convert a network whatever it costs, or refuse to run it."""
    missing = "" if openvino_version() else "OpenVINO is not installed"
    converted = _obstacle(by_torch[0]) or missing or _convert(by_torch)
    if isinstance(converted, str):
        raise InvalidOptionError(
            "runtime",
            "openvino",
            f"torch or auto here, because {converted}",
            f"OpenVINO runs networks on a CPU: {_INSTALLATION}",
        )
    return RuntimeChoice(converted, f"openvino {openvino_version()}", "runtime: openvino")


def _obstacle(replica: TorchReplica) -> str:
    """Return why OpenVINO cannot run a network; empty if it can, where it is installed."""
    if replica.device.type != "cpu":
        return f"the device is {replica.device}"
    return "" if isinstance(replica.forward, TracedNetwork) else "the network cannot be traced"


def _convert(by_torch: Sequence[TorchReplica]) -> Sequence[Replica] | str:
    """Convert a network for as many threads; or say why its codes cannot be had."""
    first = by_torch[0]
    assert isinstance(first.forward, TracedNetwork)  # or there was an obstacle
    try:
        converted = convert_network(
            first.forward, first.transform, first.dtype, count=len(by_torch)
        )
        right = gives_its_codes(converted[0], first)
    except USER_CODE_EXCEPTIONS as error:
        return f"OpenVINO does not convert the network: {describe_error(error)}"
    return converted if right else "OpenVINO's codes are not those of the network"
