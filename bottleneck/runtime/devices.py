"""Devices and precisions: which of them this machine has, and which is the best.

PyTorch is imported when a device is looked for, so that importing this module costs nothing.
"""

import os
from typing import TYPE_CHECKING

from bottleneck.errors import InvalidOptionError
from bottleneck.runtime.schedulers.array_task import local_rank

if TYPE_CHECKING:
    import torch

PRECISIONS = ("float32", "bfloat16", "float16")
RUNTIMES = ("auto", "torch", "openvino")  # what runs a network


def choose_devices(device: "str | torch.device") -> "list[torch.device]":
    """Return the devices of ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.

    ``auto`` and ``cuda`` mean every visible GPU. Processes of one job that see the same GPUs
    divide them among themselves.

    Parameters
    ----------
    device : str or torch.device
        ``"auto"``, ``"cpu"``, ``"cuda"`` or ``"cuda:N"``.

    Returns
    -------
    list of torch.device
        At least one, all of one kind.

    Raises
    ------
    InvalidOptionError
        This machine has no such device.

    Examples
    --------
    >>> choose_devices("cpu")
    [device(type='cpu')]
    """
    import torch

    device = str(device)  # of PyTorch's own as well
    count = torch.cuda.device_count()
    if count and device in ("auto", "cuda"):
        rank, size = local_rank(os.environ)
        return [torch.device(f"cuda:{i}") for i in range(rank % min(size, count), count, size)]
    return [choose_device(device)]


def choose_device(device: "str | torch.device") -> "torch.device":
    """Return the one device of ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.

    Parameters
    ----------
    device : str or torch.device
        ``"auto"``, ``"cpu"``, ``"cuda"`` or ``"cuda:N"``.

    Returns
    -------
    torch.device
        A GPU has its number, without which it cannot be made the device of a thread.

    Raises
    ------
    InvalidOptionError
        This machine has no such device.

    Examples
    --------
    >>> choose_device("cpu")
    device(type='cpu')
    """
    import torch

    device = str(device)  # of PyTorch's own as well
    count = torch.cuda.device_count()
    if count and device in ("auto", "cuda"):
        # A process that has not used CUDA uses the first GPU. Asking PyTorch would initialise CUDA.
        current = torch.cuda.current_device() if torch.cuda.is_initialized() else 0  # type: ignore[no-untyped-call, unused-ignore]
        return torch.device("cuda", current)
    if device == "auto":
        return torch.device("cpu")
    known = ["auto", "cpu", *(["cuda"] if count else []), *(f"cuda:{i}" for i in range(count))]
    if device not in known:
        raise InvalidOptionError("device", device, f"one of this machine's: {', '.join(known)}")
    return torch.device(device)


def visible_gpus(device: str) -> list[str]:
    """Return the GPUs of ``auto`` or ``cuda``, each as ``CUDA_VISIBLE_DEVICES`` names it alone.

    Parameters
    ----------
    device : str
        ``"auto"`` or ``"cuda"``; any other device gives none.
    """
    if device not in ("auto", "cuda"):
        return []
    import torch

    count = torch.cuda.device_count()
    named = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    return (named.split(",") if named else [str(i) for i in range(count)])[:count]


def resolve_precision(precision: str, device: "torch.device") -> str:
    """Return a name of `PRECISIONS`: the one that is asked for, or for ``"auto"`` the fastest.

    The fastest with float32's range is bfloat16 where the hardware computes in it, else float32.

    Parameters
    ----------
    precision : str
        ``"auto"`` or a name of `PRECISIONS`.
    device : torch.device
        Where the network runs.

    Raises
    ------
    InvalidOptionError
        There is no such precision.
    """
    if precision == "auto":
        return native_precision("bfloat16", device)
    if precision not in PRECISIONS:
        raise InvalidOptionError("precision", precision, f"one of auto, {', '.join(PRECISIONS)}")
    return precision


def native_precision(precision: str, device: "torch.device") -> str:
    """Return `precision` where a device computes in it, and else ``"float32"``.

    float32 is nearer to the exact codes. On a processor without bfloat16 it was 7 to 70 times as
    fast as bfloat16 and float16, in which oneDNN does not run there. Every processor computes
    float16 in float32; those that have instructions for it were not measured.

    Parameters
    ----------
    precision : str
        A name of `PRECISIONS`.
    device : torch.device
        Where the network runs.

    Returns
    -------
    str
        ``"float32"`` or `precision`.

    Examples
    --------
    >>> import torch
    >>> native_precision("float16", torch.device("cpu"))
    'float32'
    """
    import torch

    if device.type == "cuda":  # bfloat16 came with Ampere
        native = precision != "bfloat16" or torch.cuda.get_device_capability(device) >= (8, 0)
    else:
        native = precision == "bfloat16" and (
            torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
        )
    return precision if native else "float32"
