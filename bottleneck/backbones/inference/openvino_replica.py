"""A truncated network run by OpenVINO, an optional library for CPUs."""

import warnings
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import torch
from torch import Tensor

from bottleneck.backbones.inference.replica import FixedBatchReplica
from bottleneck.backbones.layers.truncated import TruncatedNetwork
from bottleneck.backbones.parallelism import images_within, threads_of_a_batch
from bottleneck.backbones.tracing.traced import TracedNetwork, trace_functional
from bottleneck.input_transform import InputTransform

# OpenVINO compiles a network for a fixed number of images. It is the largest for which the largest
# maps fit into a core's caches. A batch is filled up, so that at most three images are computed in
# addition.
_LARGEST_MAP = 4 << 20  # values, in either precision
_MOST_IMAGES = 4

# Bytes of weights up to which each thread gets a program of its own. A program for one thread runs
# in the thread that calls it. One for several runs in threads beside those: beside decoding, to
# hand images over and back leaves a tenth of the cores idle.
_MOST_WEIGHTS = 2 << 30

PRECISIONS = {torch.float32: "f32", torch.bfloat16: "bf16"}  # OpenVINO's names of them


def openvino_version() -> str:
    """Return the version of OpenVINO; empty where it is not installed. It is not imported."""
    try:
        return version("openvino")
    except PackageNotFoundError:
        return ""


class OpenvinoReplica(FixedBatchReplica):
    """A request to a network that OpenVINO has compiled.

    Parameters
    ----------
    request : openvino.InferRequest
        Of a network that takes a few images of uint8 pixels, and returns a code for each layer.
    layers : sequence of str
        Names of its outputs.
    """

    def __init__(self, request: Any, layers: Sequence[str]) -> None:
        codes = {
            layer: torch.from_numpy(request.get_output_tensor(i).data)
            for i, layer in enumerate(layers)
        }
        super().__init__(request.infer, torch.from_numpy(request.get_input_tensor(0).data), codes)


def convert_network(
    traced: TracedNetwork, transform: InputTransform, dtype: torch.dtype, *, count: int
) -> list[OpenvinoReplica]:
    """Convert a truncated network, with the normalisation of its input, for several threads.

    Parameters
    ----------
    traced : TracedNetwork
        The truncated network that it is of is copied.
    transform : InputTransform
        Its `mean`, `std` and `crop` are used.
    dtype : torch.dtype
        Of weights and activations: one of `PRECISIONS`.
    count : int
        Threads that will run it at a time; they share the cores.

    Returns
    -------
    list of OpenvinoReplica
        One for each thread.

    Raises
    ------
    Exception
        Whatever the network raises when it is traced, or OpenVINO when it is converted.
    """
    import openvino

    images = images_within(_LARGEST_MAP, traced.largest, most=_MOST_IMAGES)
    model = to_openvino_model(traced.truncated, transform, images=images)
    threads = 1 if count * _bytes_of_weights(model) <= _MOST_WEIGHTS else count  # of a program
    options = {
        "INFERENCE_PRECISION_HINT": PRECISIONS[dtype],
        "NUM_STREAMS": threads,
        "INFERENCE_NUM_THREADS": threads * threads_of_a_batch(count),
        "ENABLE_CPU_PINNING": False,  # others may be busy on a core while the next one is free
    }
    core, layers = openvino.Core(), [layer.name for layer in traced.truncated.layers]
    with ThreadPoolExecutor() as pool:  # so that many programs take as long as one
        compiling = [
            pool.submit(core.compile_model, model, "CPU", options) for _ in range(count // threads)
        ]
        programs = [each.result() for each in compiling]
    return [
        OpenvinoReplica(program.create_infer_request(), layers)
        for program in programs
        for _ in range(threads)
    ]


def _bytes_of_weights(model: Any) -> int:
    return sum(each.data.nbytes for each in model.get_ops() if each.get_type_name() == "Constant")


def to_openvino_model(
    truncated: TruncatedNetwork, transform: InputTransform, *, images: int
) -> Any:
    """Return a truncated network, with the normalisation of its input, as a model of OpenVINO.

    Parameters
    ----------
    truncated : TruncatedNetwork
        Of a network in float32 on the CPU. It is copied.
    transform : InputTransform
        Its `mean`, `std` and `crop` are used.
    images : int
        Images in a pass.

    Returns
    -------
    openvino.Model
        From uint8 pixels, shape (images, crop, crop, 3), to a code for each layer.

    Raises
    ------
    Exception
        Whatever the network raises when it is traced, or OpenVINO when it is converted.
    """
    from openvino.frontend import FrontEndManager
    from openvino.frontend.pytorch.ts_decoder import TorchScriptPythonDecoder

    program = trace_functional(truncated, transform.crop)
    if program is None:
        raise ValueError("it writes into what is read elsewhere")
    mean, std = (
        torch.tensor(each, dtype=torch.float32, device="cpu").view(3, 1, 1)
        for each in (transform.mean, transform.std)
    )

    def from_pixels(pixels: Tensor) -> tuple[Tensor, ...]:
        images = pixels.permute(0, 3, 1, 2).float().div(255).sub(mean).div(std)
        codes = program.forward(images)
        return tuple(codes[layer.name] for layer in truncated.layers)

    shape = (images, transform.crop, transform.crop, 3)
    pixels = torch.zeros(shape, dtype=torch.uint8, device="cpu")
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that TorchScript is deprecated, which OpenVINO reads
        # A function, whose tensors are constants: a module is compiled with each one inside of it.
        script = torch.jit.trace(  # type: ignore[no-untyped-call, unused-ignore]
            from_pixels, pixels, check_trace=False
        )
        # Not by `openvino.convert_model`, which reports its use over the internet.
        frontend = FrontEndManager().load_by_framework("pytorch")
        decoder = TorchScriptPythonDecoder(script, example_input=pixels)
        model = frontend.convert(frontend.load(decoder))
    model.reshape(list(pixels.shape))
    return model
