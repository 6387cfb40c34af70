"""Random numbers at their extremes: what happens in one pass of a hundred is seen in one.

Stochastic depth that was left on drops a block rarely, and by one number for an image or a batch.
The smallest and the largest of many draws decide differently.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

_DRAWS = 1000  # an event of 1 % is absent from 1000 draws with probability 4e-5
_MOST_NUMBERS = 64  # of a draw; among more numbers a rare value is frequent anyway


class ExtremeDraws(TorchDispatchMode):  # type: ignore[no-untyped-call, unused-ignore]
    """Makes PyTorch's operations that draw a few random numbers give extreme ones.

    Parameters
    ----------
    extreme : callable
        ``torch.amin`` or ``torch.amax``, of many draws.

    Examples
    --------
    >>> with ExtremeDraws(torch.amin):
    ...     drawn = torch.rand(3)
    >>> bool((drawn < 0.05).all())
    True
    """

    def __init__(self, extreme: Callable[[Tensor, int], Tensor]) -> None:
        super().__init__()  # type: ignore[no-untyped-call, unused-ignore]
        self._extreme = extreme

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        draws = torch.Tag.nondeterministic_seeded in func.tags and isinstance(result, Tensor)
        if not draws or not 0 < result.numel() <= _MOST_NUMBERS:
            return result
        # Copies, for an operation in place gives the same tensor each time.
        drawn = [func(*args, **(kwargs or {})).clone() for _ in range(_DRAWS)]
        return result.copy_(self._extreme(torch.stack(drawn), 0))
