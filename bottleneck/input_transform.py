"""From an image file to a network's input: sizes, colours, and how a file becomes RGB."""

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

from bottleneck.errors import InvalidOptionError, UnknownNameError

_MOST_PIXELS = 8192  # of a side: an input of more would need more memory than codes are worth

INTERPOLATIONS = ("nearest", "bilinear", "bicubic")
FITS = ("crop", "squash", "pad")

# The rules by which a file becomes an RGB image, with their versions, by the names for users:
# `bottleneck.data.decoding`.
CPU_DECODERS = {"exact": "torchvision-1", "fast": "scaled-1"}
DECODERS = {**CPU_DECODERS, "gpu": "nvjpeg-1"}


@dataclass(frozen=True)
class InputTransform:
    """From an image file to the network's input.

    `fit` makes the image a square of `crop` pixels. Its values are divided by 255, less `mean`,
    over `std`. With ``fit="crop"``, this is what torchvision's ``ImageClassification`` presets do.

    Attributes
    ----------
    resize, crop : int
        Pixels. `resize` is used by ``fit="crop"`` alone.
    mean, std : tuple of 3 float
        A channel's, in red, green, blue, on the scale 0…1.
    interpolation : str
        ``"bilinear"`` or ``"bicubic"``, antialiased, or ``"nearest"``.
    fit : str
        How an image becomes a square:

        * ``"crop"``: the shorter side is resized to `resize`, and the centre is cut out;
        * ``"squash"``: both sides are resized to `crop`, and the proportions are lost;
        * ``"pad"``: the longer side is resized to `crop`, and the rest has the colour `mean`.
    range : tuple of 2 float, or None
        The values of pixels deeper than 8 bits that become black and white. Those between them are
        spread over 0…255, those outside are clipped. None: the high byte of 16-bit values is kept,
        and floating-point pixels are rejected. Pixels of 8 bits stay as they are.
    decoder : str
        The rule by which a file becomes an RGB image, a value of `DECODERS`. Where it is given,
        also ``"exact"``: all pixels are decoded; ``"fast"``: a JPEG is decoded at a half, a
        quarter or an eighth, if that leaves twice the size that it is resized to; or ``"gpu"``: a
        JPEG is decoded and resized on a GPU.

    Examples
    --------
    >>> InputTransform(resize=32, crop=32).mean
    (0.485, 0.456, 0.406)
    >>> InputTransform(fit="pad", range=(0, 4095)).range
    (0.0, 4095.0)
    """

    resize: int = 256
    crop: int = 224
    mean: tuple[float, ...] = (0.485, 0.456, 0.406)
    std: tuple[float, ...] = (0.229, 0.224, 0.225)
    interpolation: str = "bilinear"
    fit: str = "crop"
    range: tuple[float, ...] | None = None
    decoder: str = DECODERS["exact"]

    def __post_init__(self) -> None:
        # 0 and 0.0 are equal and yet other digests: a mean is floats, whatever it was given as.
        for name in ("mean", "std", "range"):
            values = getattr(self, name)
            if values is not None:
                object.__setattr__(self, name, tuple(float(value) for value in values))

    @property
    def decodes_on_gpu(self) -> bool:
        """Whether images are decoded and resized on a GPU, a batch at a time."""
        return self.decoder == DECODERS["gpu"]

    def to_fields(self) -> dict[str, Any]:
        """Return the fields as a user gives them, with the decoder's name.

        A decoder that this program has not is left out: then another spec comes of them.
        """
        names = {rule: name for name, rule in DECODERS.items()}
        fields = dataclasses.asdict(self)
        if (rule := fields.pop("decoder")) in names:
            fields["decoder"] = names[rule]
        return fields


def validate_transform_fields(**fields: Any) -> dict[str, Any]:
    """Validate fields of `InputTransform`, and return those that are not None.

    A decoder's name is replaced by its rule, and numbers and arrays of NumPy and PyTorch by
    Python's numbers.

    Raises
    ------
    InvalidOptionError
        A size is no whole number above 0, `mean` or `std` has not one value a channel, a `std` is
        not above 0, a `range` does not ascend, or there is no such interpolation, fit or decoder.
    UnknownNameError
        There is no such field.
    """
    for name in fields:
        if name not in _ALLOWED:
            raise UnknownNameError("field", name, _ALLOWED, of="the transform")
    given = {name: _plain(value) for name, value in fields.items() if value is not None}
    for name, value in given.items():
        allowed = _ALLOWED[name]
        if not _is_allowed(name, value):
            parts = value if isinstance(value, (tuple, list)) else [value]
            shown = ",".join(f"{v:g}" if isinstance(v, float) else str(v) for v in parts)
            raise InvalidOptionError(name, shown, allowed)
    if "decoder" in given:
        given["decoder"] = DECODERS.get(given["decoder"], given["decoder"])
    return given


_ALLOWED = {
    "resize": f"a whole number of pixels, from 1 to {_MOST_PIXELS}",
    "crop": f"a whole number of pixels, from 1 to {_MOST_PIXELS}",
    "mean": "three numbers, for red, green and blue",
    "std": "three numbers, for red, green and blue, each above 0",
    "interpolation": f"one of {', '.join(INTERPOLATIONS)}",
    "fit": f"one of {', '.join(FITS)}",
    "range": "two numbers, the first below the second",
    "decoder": f"one of {', '.join(DECODERS)}",
}

_NAMES = {
    "interpolation": INTERPOLATIONS,
    "fit": FITS,
    "decoder": (*DECODERS, *DECODERS.values()),
}


def _plain(value: Any) -> Any:
    """Return Python's numbers for those of NumPy and PyTorch, alone, in a sequence or an array."""
    if isinstance(value, (tuple, list)):
        return tuple(map(_plain, value))
    return value.tolist() if hasattr(value, "tolist") else value


def _is_allowed(name: str, value: Any) -> bool:
    if name in ("resize", "crop"):
        whole = isinstance(value, int) and not isinstance(value, bool)
        return whole and 1 <= value <= _MOST_PIXELS
    if name in _NAMES:
        return value in _NAMES[name]
    if not isinstance(value, (tuple, list)) or not all(isinstance(v, (int, float)) for v in value):
        return False
    if not all(math.isfinite(number) for number in value):
        return False
    if name == "range":
        return len(value) == 2 and value[0] < value[1]
    return len(value) == 3 and (name != "std" or min(value) > 0)
