"""Count the floating-point operations of a forward pass, by PyTorch's formulas."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch._ops import OpOverload
from torch.utils._python_dispatch import TorchDispatchMode

from bottleneck.backbones.layers.flop_registry import flop_registry

_ATEN = torch.ops.aten


def _count_fused(tokens: Tensor, *arguments: Any, **_options: Any) -> int:
    """Count the matrices by which each token is multiplied, and its products with each other."""
    images, length, width = tokens.shape
    given = (each for each in arguments if isinstance(each, Tensor) and each.ndim == 2)
    matrices = sum(each.numel() for each in given if width in each.shape)  # a mask is none
    return 2 * images * length * (matrices + 2 * length * width)


# Attention as PyTorch computes it on a CPU alone. It has no formulas for these.
_ON_CPU = {
    _ATEN._scaled_dot_product_flash_attention_for_cpu: flop_registry[
        _ATEN._scaled_dot_product_flash_attention
    ],
    _ATEN._native_multi_head_attention: _count_fused,
    _ATEN._transformer_encoder_layer_fwd: _count_fused,
}
_FORMULAS = {**flop_registry, **_ON_CPU}


class FlopCounter(TorchDispatchMode):  # type: ignore[no-untyped-call, unused-ignore]
    """Count floating-point operations as `torch.utils.flop_counter.FlopCounterMode` does.

    That one imports PyTorch's compiler, for more than a second, only to tell it to pass over the
    counting. Here nothing is compiled. Attention that a CPU fuses is counted as well, so that a
    network has as many operations there as on the meta device.

    Attributes
    ----------
    total : int
        Floating-point operations so far; a multiply-add is two.

    Examples
    --------
    >>> import torch
    >>> with FlopCounter() as counter:
    ...     _ = torch.nn.Linear(5, 7)(torch.zeros(2, 5))
    >>> counter.total
    140
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call, unused-ignore]
        self.total = 0

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Return False, so that PyTorch does not import its compiler: see `TorchDispatchMode`."""
        return False

    def __torch_dispatch__(
        self,
        func: OpOverload,
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Run and count an operation; without a formula, count the operations it consists of."""
        kwargs = kwargs or {}
        count = _FORMULAS.get(func._overloadpacket)
        if count is None:
            with self:
                result = func.decompose(*args, **kwargs)
            if result is not NotImplemented:
                return result
        result = func(*args, **kwargs)
        if count is not None:
            self.total += count(*args, **kwargs, out_val=result)
        return result
