"""Decode JPEGs on a GPU by nvJPEG, through torchvision, for the decoder ``"gpu"``.

nvJPEG enlarges the coarser planes of colour in another way than libjpeg-turbo, so that pixels, and
with them codes, differ a little from those of the exact decoder: it is a rule of its own
(``"nvjpeg-1"`` in a spec). The rule takes the usual JPEGs of grey and of YCbCr colours. All other
files, and whatever nvJPEG refuses, are decoded exactly.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from bottleneck.data.decoding.decode import read_accepted_header
from bottleneck.data.decoding.jpeg_header import may_be_rgb
from bottleneck.data.decoding.orientation import turn_of
from bottleneck.errors import InvalidOptionError
from bottleneck.runtime import torchvision  # noqa: F401  (it registers `torch.ops.image`)

_READ_AS_RGB = 3  # torchvision.io.ImageReadMode.RGB
_END, _TAIL = b"\xff\xd9", 64  # T.81, table B.1; does not occur within coded pixels


class EncodedJpeg(NamedTuple):
    """A JPEG for nvJPEG.

    Attributes
    ----------
    data : Tensor of uint8, shape (bytes,)
        In the host's memory.
    orientation : int
        By EXIF; 0 if there is none.
    """

    data: Tensor
    orientation: int


def read_for_nvjpeg(data: bytes) -> EncodedJpeg | None:
    """Return a JPEG that nvJPEG is given; None for every file that is decoded exactly.

    Parameters
    ----------
    data : bytes
        A file of any kind.

    Examples
    --------
    >>> read_for_nvjpeg(b"GIF89a") is None
    True
    """
    header = read_accepted_header(data)
    # Of a file that is cut off, nvJPEG may make up the rest. It takes all colours for YCbCr.
    if header is None or _END not in data[-_TAIL:] or may_be_rgb(data):
        return None
    # Bytes are not writable, of which torch warns.
    return EncodedJpeg(
        torch.from_numpy(np.frombuffer(data, dtype=np.uint8).copy()), header.orientation
    )


def decode_jpegs(jpegs: Sequence[EncodedJpeg], device: torch.device) -> list[Tensor | None]:
    """Decode JPEGs on a GPU, together.

    Parameters
    ----------
    jpegs : sequence of EncodedJpeg
    device : torch.device
        A GPU for which `require_nvjpeg` does not raise.

    Returns
    -------
    list of Tensor of uint8, shape (3, height, width), or None
        Upright pixels on the device; None for each file that nvJPEG refuses, or for whose pixels
        there is no memory.
    """
    decoded = _decode([jpeg.data for jpeg in jpegs], device)
    return [
        None if pixels is None else _upright(pixels, jpeg.orientation)
        for pixels, jpeg in zip(decoded, jpegs, strict=True)
    ]


def require_nvjpeg(device: torch.device) -> None:
    """Refuse the decoder where it does not work, before anything is done.

    Parameters
    ----------
    device : torch.device

    Raises
    ------
    InvalidOptionError
        The device is no GPU, or torchvision does not decode on it.

    Examples
    --------
    >>> require_nvjpeg(torch.device("cpu"))
    Traceback (most recent call last):
    bottleneck.errors.InvalidOptionError: `decoder='gpu'`: must be exact or fast, because ...
    """
    if why := nvjpeg_obstacle(device):
        raise InvalidOptionError(
            "decoder",
            "gpu",
            f"exact or fast, because {why}",
            "it needs an NVIDIA GPU, and torchvision's build for CUDA",
        )


def nvjpeg_obstacle(device: torch.device) -> str:
    """Return why the decoder does not work; empty if it does.

    Parameters
    ----------
    device : torch.device

    Examples
    --------
    >>> nvjpeg_obstacle(torch.device("cpu"))
    'the device is cpu'
    """
    try:
        pixels = torch.zeros(3, 16, 16, dtype=torch.uint8, device="cpu")
        _nvjpeg([torch.ops.image.encode_jpeg(pixels, 75)], device)
    except (RuntimeError, AttributeError) as error:  # an AttributeError: it has no such operator
        return "the device is cpu" if device.type == "cpu" else str(error).partition("\n")[0]
    return ""


def _decode(encoded: Sequence[Tensor], device: torch.device) -> list[Tensor | None]:
    try:
        return [*_nvjpeg(encoded, device)] if encoded else []
    except RuntimeError:  # one damaged JPEG makes the whole call fail
        if len(encoded) == 1:
            return [None]
        half = len(encoded) // 2
        return _decode(encoded[:half], device) + _decode(encoded[half:], device)


def _nvjpeg(encoded: Sequence[Tensor], device: torch.device) -> list[Tensor]:
    # Not by `torchvision.io.decode_jpeg`, which warns at each call that it will be removed.
    decoded: list[Tensor] = torch.ops.image.decode_jpegs_cuda(list(encoded), _READ_AS_RGB, device)
    return decoded


def _upright(pixels: Tensor, orientation: int) -> Tensor:
    axes, swapped = turn_of(orientation)
    turned = pixels.flip([1 + axis for axis in axes]) if axes else pixels
    return turned.transpose(1, 2) if swapped else turned
