"""Errors of memory, of PyTorch on each kind of device and of NumPy, and no others."""

import numpy as np
import pytest
import torch

from bottleneck.errors import DeviceMemoryError
from bottleneck.runtime.device_memory import is_out_of_memory, memory_errors


def of_numpy() -> None:
    np.empty(1 << 60, dtype=np.uint8)


def of_the_cpu() -> None:
    torch.empty(1 << 60, dtype=torch.uint8)


def of_a_gpu() -> None:
    raise torch.OutOfMemoryError("CUDA out of memory.\nTried to allocate 2 GiB")


def of_onednn() -> None:
    raise RuntimeError("could not create a primitive")


def of_cuda() -> None:
    raise RuntimeError("CUDA error: out of memory\nCUDA kernel errors might be reported later")


def of_cublas() -> None:
    raise RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`")


def of_cudnn() -> None:
    raise RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED")


def of_cudnn_9() -> None:
    raise RuntimeError("cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED")


def of_cusolver() -> None:
    raise RuntimeError("cusolver error: CUSOLVER_STATUS_ALLOC_FAILED, when calling `cusolverDn`")


@pytest.mark.parametrize(
    "allocate",
    [
        *(of_numpy, of_the_cpu, of_a_gpu, of_onednn),
        *(of_cuda, of_cublas, of_cudnn, of_cudnn_9, of_cusolver),
    ],
)
def test_memory_errors_are_one_line_with_the_next_step(allocate: object) -> None:
    assert callable(allocate)
    with (
        pytest.raises(DeviceMemoryError) as caught,
        memory_errors("the codes do not fit", "take a part"),
    ):
        allocate()
    text = str(caught.value)
    assert text.startswith("the codes do not fit (")
    assert text.endswith("): take a part")
    assert "\n" not in text
    assert is_out_of_memory(caught.value.__cause__ or ValueError())


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("it failed"),
        RuntimeError("could not create a primitive descriptor for a convolution"),
        ValueError("can't allocate memory"),
        DeviceMemoryError("one image"),
    ],
)
def test_other_errors_and_those_that_are_said_already_pass(error: Exception) -> None:
    with pytest.raises(type(error)) as caught, memory_errors("the codes do not fit", "take a part"):
        raise error
    assert caught.value is error


def test_a_decorated_function_can_be_called_again() -> None:
    decorated = memory_errors("it does not fit", "take a part")(of_a_gpu)
    for _ in range(2):
        with pytest.raises(DeviceMemoryError, match="it does not fit"):
            decorated()
