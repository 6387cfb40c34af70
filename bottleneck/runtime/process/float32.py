"""Exact arithmetic of PyTorch in float32, whatever the process allows."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from bottleneck.runtime.process.shared_context import SharedContext

T = TypeVar("T")


def _operations() -> list[Any]:
    """Return PyTorch's settings of each kind of operation in each library."""
    import torch

    backends: Any = torch.backends
    cudnn, onednn = backends.cudnn, backends.mkldnn
    products = [backends.cuda.matmul, onednn.matmul]
    return [*products, cudnn.conv, cudnn.rnn, onednn.conv, onednn.rnn]


def _unless_mixed(read: Callable[[], T]) -> T | None:
    """Return a setting that operations share, or None where theirs differ: PyTorch raises then."""
    try:
        return read()
    except RuntimeError:
        return None


@contextmanager
def _compute_exactly() -> Iterator[None]:
    """Compute in float32 what is in float32.

    cuDNN's default is TF32, with 10 of its 23 bits, and a process may have allowed products in TF32
    or bfloat16 for a training of its own. The settings of all operations are changed with those of
    each, for PyTorch refuses to read the former where they differ.
    """
    import torch

    cudnn = torch.backends.cudnn
    convolutions = _unless_mixed(lambda: cudnn.allow_tf32)
    products = _unless_mixed(torch.get_float32_matmul_precision)
    before = [(operation, operation.fp32_precision) for operation in _operations()]
    try:
        cudnn.allow_tf32 = False
        torch.set_float32_matmul_precision("highest")
        for operation, _ in before:
            operation.fp32_precision = "ieee"
        yield
    finally:
        if convolutions is not None:
            cudnn.allow_tf32 = convolutions
        if products is not None:
            torch.set_float32_matmul_precision(products)
        for operation, precision in before:
            operation.fp32_precision = precision


EXACT_FLOAT32 = SharedContext(_compute_exactly)  # of the whole process
