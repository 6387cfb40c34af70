"""Name the operation of PyTorch at which a forward pass fails."""

import re
from collections.abc import Callable
from typing import Any

from torch.overrides import TorchFunctionMode, resolve_name

from bottleneck.errors import USER_CODE_EXCEPTIONS

_DOUBLED = re.compile(r"\b(fft|linalg|special)\.\1_")  # PyTorch names its own torch.fft.fft_rfft2


def failing_operation(run: Callable[[], object]) -> str:
    """Run something that fails, and return the name of the operation that raised the error.

    Parameters
    ----------
    run : callable
        Called without arguments.

    Returns
    -------
    str
        For example ``"torch.fft.rfft2"``; empty if no operation raised it.

    Examples
    --------
    >>> import torch
    >>> failing_operation(lambda: torch.zeros(2, 3) @ torch.zeros(2, 3))
    'torch.Tensor.matmul'
    """
    with _RunningOperations() as running:
        try:
            run()
        except USER_CODE_EXCEPTIONS:
            return str(running.failed)
    return ""


class _RunningOperations(TorchFunctionMode):
    """Keeps the name of the innermost operation that raised an error."""

    def __init__(self) -> None:
        super().__init__()
        self.failed = ""

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        self.failed = ""  # an error before this was caught
        try:
            return func(*args, **(kwargs or {}))
        except USER_CODE_EXCEPTIONS:
            name: str = resolve_name(func) or getattr(func, "__name__", "")
            self.failed = _DOUBLED.sub(r"\1.", name)
            raise
