"""The values of a network's weights: whether it has them, and their digest."""

from collections.abc import Collection

import torch
from torch import Tensor, nn

from bottleneck.backbones.sources.inspection.architecture import describe_value, tensor_bytes
from bottleneck.backbones.user_code import errors_in_one_line
from bottleneck.errors import BackboneError
from bottleneck.runtime import sha256


def require_values(network: nn.Module) -> None:
    """Refuse a network of which parameters are on the meta device, and have no values.

    Raises
    ------
    BackboneError
        Names the first of them; or the network's own code gives no state dict.

    Examples
    --------
    >>> require_values(nn.Linear(2, 2, device="meta"))
    Traceback (most recent call last):
    bottleneck.errors.BackboneError: 'weight' is on the meta device, and has no values: ...
    """
    with errors_in_one_line("the network gives no state dict"):
        state = network.state_dict(keep_vars=True)
    for name, value in state.items():
        if isinstance(value, Tensor) and value.is_meta:
            raise BackboneError(
                f"{name!r} is on the meta device, and has no values",
                hint="build the network on the CPU, and name the file of its weights in `weights`",
            )


def digest_weights(network: nn.Module, left_out: Collection[str] = ()) -> str:
    """Return the SHA-256 over the names, types, shapes and bytes of a network's state dict.

    What is no plain tensor, such as a quantised weight or `get_extra_state`, counts by its values.

    Parameters
    ----------
    network : nn.Module
    left_out : collection of str
        Names of tensors that decide no code: those that a weights file did not fill.

    Examples
    --------
    >>> digest_weights(nn.Flatten())[:12]  # no weights: the digest of nothing
    'e3b0c44298fc'
    """
    parts: list[bytes | memoryview] = []
    for name, tensor in sorted(network.state_dict().items()):
        if name in left_out:
            continue
        if (
            not isinstance(tensor, Tensor)
            or tensor.is_quantized
            or tensor.layout is not torch.strided
        ):
            parts.append(f"{name} {describe_value(tensor)}\n".encode())
            continue
        parts.append(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        parts.append(tensor_bytes(tensor))
    return sha256(*parts)
