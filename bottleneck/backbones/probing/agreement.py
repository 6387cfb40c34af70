"""Agreement of codes computed in two ways: their difference, and how large it may be."""

import torch
from torch import Tensor

# Largest allowed difference of a layer's codes from those in float32, relative to their norm; and,
# where rounding alone makes a larger one, times that.
TOLERANCE = {torch.float32: 1e-4, torch.bfloat16: 0.015, torch.float16: 0.005}
_OF_ROUNDING = 1.25


def are_close(
    expected: dict[str, Tensor],
    codes: dict[str, Tensor],
    dtype: torch.dtype,
    *,
    rounded: dict[str, Tensor] | None = None,
) -> bool:
    """Return whether codes are those of a network, up to the rounding of a precision.

    Parameters
    ----------
    expected : dict of str to Tensor
        The network's own codes in float32, by layer.
    codes : dict of str to Tensor
        Those of the same images by another way.
    dtype : torch.dtype
        The precision of that way.
    rounded : dict of str to Tensor, optional
        Codes of the same images by a trusted way in that precision. A little more than their
        difference is then allowed too.

    Examples
    --------
    >>> code = torch.tensor([[1.0, 0.0]])
    >>> are_close({"a": code}, {"a": code + 0.01}, torch.bfloat16)
    True
    >>> are_close({"a": code}, {"a": code + 0.01}, torch.float32)
    False
    """
    if codes.keys() != expected.keys():
        return False
    for layer, code in expected.items():
        allowed = TOLERANCE[dtype]
        if rounded is not None:
            allowed = max(allowed, _OF_ROUNDING * _relative(code, rounded[layer]))
        if codes[layer].shape != code.shape or not _relative(code, codes[layer]) <= allowed:
            return False
    return True


def difference(codes: Tensor, others: Tensor) -> float:
    """Return the norm of the difference of two sets of codes, relative to that of the larger.

    It is NaN where a code is not finite.

    Parameters
    ----------
    codes, others : Tensor
        Of the same shape, in any precision and on any device.

    Examples
    --------
    >>> difference(torch.tensor([2.0, 0.0]), torch.tensor([1.0, 0.0]))
    0.5
    """
    a, b = codes.double().cpu(), others.double().cpu()
    scale = torch.maximum(a.norm(), b.norm())
    return float((a - b).norm() / scale) if scale else 0.0


def _relative(expected: Tensor, code: Tensor) -> float:
    """Return the norm of the difference of codes, relative to that of the expected ones.

    Unlike `difference` it is infinite where a code is: rounding may make it so.
    """
    a, b = expected.double().cpu(), code.double().cpu()
    apart = (a - b).norm()
    return float(apart / a.norm()) if apart else 0.0
