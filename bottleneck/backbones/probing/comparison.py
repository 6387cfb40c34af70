"""The difference between codes of one image in two forward passes."""

from torch import Tensor


def difference(codes: Tensor, others: Tensor) -> float:
    """Return the norm of the difference of two sets of codes, relative to that of the larger.

    Parameters
    ----------
    codes, others : Tensor
        Of the same shape, in any precision and on any device.

    Examples
    --------
    >>> import torch
    >>> difference(torch.tensor([2.0, 0.0]), torch.tensor([1.0, 0.0]))
    0.5
    """
    a, b = codes.double().cpu(), others.double().cpu()
    scale = max(float(a.norm()), float(b.norm()))
    return float((a - b).norm()) / scale if scale else 0.0
