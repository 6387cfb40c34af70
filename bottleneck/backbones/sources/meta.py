"""Build networks whose parameters take no memory, to list their layers."""

from typing import Any

import torch
from torch.overrides import TorchFunctionMode


class MetaParameters(TorchFunctionMode):
    """Create parameters without memory, and leave a builder's own arithmetic alone.

    ``torch.device("meta")`` does not: RegNet's builder reads numbers from its tensors.

    Examples
    --------
    >>> with MetaParameters():
    ...     network = torch.nn.Conv2d(3, 8, 3)
    >>> network.weight.device.type, torch.linspace(0, 1, 3).device.type
    ('meta', 'cpu')
    """

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Call `func`, on the meta device if it makes a tensor that has no values yet."""
        device = {"device": "meta"} if func is torch.empty else {}
        return func(*args, **{**(kwargs or {}), **device})
