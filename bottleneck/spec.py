"""The spec: everything that decides the numbers of a code, frozen, with one digest."""

import dataclasses
import hashlib
import json
import math
import re
from dataclasses import dataclass
from typing import Any, Self

from bottleneck.errors import InvalidOptionError, SpecMismatchError

_MOST_PIXELS = 8192  # of a side: an input of more would need more memory than codes are worth

INTERPOLATIONS = ("nearest", "bilinear", "bicubic")


@dataclass(frozen=True)
class InputTransform:
    """From an RGB image to the network's input.

    The shorter side is resized to `resize`, the centre `crop` × `crop` is cut out, the values
    are divided by 255, less `mean`, over `std`: as torchvision's
    ``ImageClassification`` presets do.

    Attributes
    ----------
    resize, crop : int
        Pixels.
    mean, std : tuple of 3 float
        A channel's, in red, green, blue, on the scale 0…1.
    interpolation : str
        ``"bilinear"`` or ``"bicubic"``, antialiased, or ``"nearest"``.

    Examples
    --------
    >>> InputTransform(resize=32, crop=32).mean
    (0.485, 0.456, 0.406)
    """

    resize: int = 256
    crop: int = 224
    mean: tuple[float, ...] = (0.485, 0.456, 0.406)
    std: tuple[float, ...] = (0.229, 0.224, 0.225)
    interpolation: str = "bilinear"

    def __post_init__(self) -> None:
        # 0 and 0.0 are equal and yet other digests: a mean is floats, whatever it was given as.
        object.__setattr__(self, "mean", tuple(float(value) for value in self.mean))
        object.__setattr__(self, "std", tuple(float(value) for value in self.std))


@dataclass(frozen=True)
class Spec:
    """What decides the numbers of a cache's codes, beside the layer's name and the image.

    Attributes
    ----------
    model : str
        The architecture: torchvision's name; timm's with a digest; or a file's name, factory and
        digest.
    weights_digest : str
        SHA-256 over the state dict that was really loaded.
    transform : InputTransform
        From image to input.
    decoder : str
        The rule by which a file became an RGB image, with its version.
    precision : str
        ``"float32"``, ``"bfloat16"`` or ``"float16"``: weights and activations.
    relu : bool
        Whether negative activations were set to zero before pooling.
    pool : str
        ``"avg"``, ``"max"``, ``"none"``, ``"cls"`` or a grid's side as digits.
    """

    model: str
    weights_digest: str
    transform: InputTransform
    decoder: str
    precision: str
    relu: bool
    pool: str

    def to_json(self) -> dict[str, Any]:
        """Return plain values, as ``spec.json``, shards and heads contain them."""
        values = dataclasses.asdict(self)
        # The key that files have; the order of keys is that of the fields.
        return {"preprocess" if key == "transform" else key: value for key, value in values.items()}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Self:
        """Build a spec from the plain values of `to_json`.

        Raises
        ------
        TypeError, KeyError, ValueError, AttributeError
            `values` is not a spec. The caller knows the file's name.
        """
        transform = InputTransform(**values["preprocess"])
        given = validate_transform_fields(**dataclasses.asdict(transform))  # as if by a user
        if len(given) < len(dataclasses.fields(transform)):
            raise TypeError("a field of preprocess is null")
        others = {key: value for key, value in values.items() if key != "preprocess"}
        texts = {key: value for key, value in others.items() if key != "relu"}
        if not all(isinstance(value, str) for value in texts.values()):
            raise TypeError(f"not all of {', '.join(texts)} are text")
        if not isinstance(values["relu"], bool):
            raise TypeError(f"relu is {values['relu']!r}")
        return cls(**others, transform=transform)

    def digest(self, layer: str = "") -> str:
        """Return the SHA-256 of the spec, or of the spec at one layer.

        Codes of equal digests are comparable.
        """
        return hashlib.sha256(self.canonical_json(layer).encode()).hexdigest()

    def canonical_json(self, layer: str = "") -> str:
        """Return the text that is digested: JSON with sorted keys, without spaces, in ASCII."""
        identity = {"spec": self.to_json(), "layer": layer}
        return json.dumps(identity, sort_keys=True, separators=(",", ":"))

    def require(self, other: "Spec", *, this: str, that: str, next_step: str) -> None:
        """Refuse to mix two specs.

        Parameters
        ----------
        other : Spec
            The spec that should be the same.
        this, that : str
            What the two belong to, for the message: ``"cache x"``, ``"this run"``.
        next_step : str
            What the user can do about it, for the message.

        Raises
        ------
        SpecMismatchError
            Names every field that differs, with both values.
        """
        mine, theirs = _flat(self.to_json()), _flat(other.to_json())
        differences = [
            f"{name} is {_short(mine[name])} in {this} and {_short(theirs[name])} in {that}"
            for name in mine
            if mine[name] != theirs[name]
        ]
        if differences:
            raise SpecMismatchError(f"another spec: {'; '.join(differences)}: {next_step}")


def validate_transform_fields(**fields: Any) -> dict[str, Any]:
    """Validate fields of `InputTransform`, and return those that are not None.

    Raises
    ------
    InvalidOptionError
        A size is no whole number above 0, `mean` or `std` has not one value a channel, a `std` is
        not above 0, or there is no such interpolation.
    """
    given = {name: value for name, value in fields.items() if value is not None}
    for name, value in given.items():
        allowed = _ALLOWED[name]
        if not _is_allowed(name, value):
            parts = value if isinstance(value, (tuple, list)) else [value]
            shown = ",".join(f"{v:g}" if isinstance(v, float) else str(v) for v in parts)
            raise InvalidOptionError(name, shown, allowed)
    return given


_ALLOWED = {
    "resize": f"a whole number of pixels, from 1 to {_MOST_PIXELS}",
    "crop": f"a whole number of pixels, from 1 to {_MOST_PIXELS}",
    "mean": "three numbers, for red, green and blue",
    "std": "three numbers, for red, green and blue, each above 0",
    "interpolation": f"one of {', '.join(INTERPOLATIONS)}",
}


def _is_allowed(name: str, value: Any) -> bool:
    if name in ("resize", "crop"):
        whole = isinstance(value, int) and not isinstance(value, bool)
        return whole and 1 <= value <= _MOST_PIXELS
    if name == "interpolation":
        return value in INTERPOLATIONS
    if not isinstance(value, (tuple, list)) or not all(isinstance(v, (int, float)) for v in value):
        return False
    least = 0 if name == "std" else -math.inf
    return len(value) == 3 and all(math.isfinite(v) and v > least for v in value)


@dataclass(frozen=True)
class ModelReference:
    """Where the network came from, so that it can be loaded again. Decides no number.

    Attributes
    ----------
    model, weights : str
        As the user named them, files with their absolute paths.
    """

    model: str
    weights: str

    def __post_init__(self) -> None:
        if not (isinstance(self.model, str) and isinstance(self.weights, str)):
            raise TypeError("a source is two texts")


def _flat(values: dict[str, Any]) -> dict[str, Any]:
    return {**{k: v for k, v in values.items() if k != "preprocess"}, **values["preprocess"]}


def _short(value: object) -> str:
    text = str(value)
    return f"{text[:12]}…" if re.fullmatch("[0-9a-f]{64}", text) else text
