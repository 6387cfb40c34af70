"""The spec: everything that decides the numbers of a code, frozen, with one digest."""

import dataclasses
import hashlib
import json
import math
import re
from dataclasses import dataclass
from typing import Any, Self

from bottleneck.errors import InvalidOptionError, SpecMismatchError, UnknownNameError
from bottleneck.pooling import split_pooled_name

_MOST_PIXELS = 8192  # of a side: an input of more would need more memory than codes are worth

INTERPOLATIONS = ("nearest", "bilinear", "bicubic")
FITS = ("crop", "squash", "pad")

# The rules by which a file becomes an RGB image, with their versions, by the names for users:
# `bottleneck.data.decoding`.
CPU_DECODERS = {"exact": "torchvision-1", "fast": "scaled-1"}
DECODERS = {**CPU_DECODERS, "gpu": "nvjpeg-1"}

AUGMENTATIONS = ("flip", "crop", "rotate", "color")
VIEW_RULE = "sha256-1"
MAX_VIEWS = 1000

# The fields of a transform that cache format 3 added. With these values a transform is
# one of format 2, and they are left out of the digest: codes of both formats are comparable.
_MEANT_BEFORE = {"fit": "crop", "range": None}


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
        From image file to input.
    precision : str
        ``"float32"``, ``"bfloat16"`` or ``"float16"``: weights and activations.
    relu : bool
        Whether negative activations were set to zero before pooling.
    pool : str
        ``"avg"``, ``"max"``, ``"none"``, ``"cls"`` or a grid's side as digits, for layers whose
        names do not end in a pooling of their own.
    """

    model: str
    weights_digest: str
    transform: InputTransform
    precision: str
    relu: bool
    pool: str

    @property
    def decoder(self) -> str:
        """The rule by which a file became an RGB image, with its version."""
        return self.transform.decoder

    def pool_of(self, layer: str) -> str:
        """Return the pooling of a layer: its own, if its name ends in one."""
        return split_pooled_name(layer)[1] or self.pool

    def to_json(self, *, version: int = 3) -> dict[str, Any]:
        """Return plain values, as ``spec.json``, shards and heads contain them.

        Parameters
        ----------
        version : int
            Format of the cache. Before 3, a transform had no `fit` and no `range`: both are left
            out where they have the values of `_MEANT_BEFORE`.
        """
        values = dataclasses.asdict(self)
        preprocess = values.pop("transform")
        decoder = preprocess.pop("decoder")  # beside it, as in format 1
        if version < 3:
            preprocess = {
                key: value
                for key, value in preprocess.items()
                if key not in _MEANT_BEFORE or value != _MEANT_BEFORE[key]
            }
        identity = {key: values.pop(key) for key in ("model", "weights_digest")}
        return {**identity, "preprocess": preprocess, "decoder": decoder, **values}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Self:
        """Build a spec from the plain values of `to_json`, of any version.

        Raises
        ------
        TypeError, KeyError, ValueError, AttributeError
            `values` is not a spec. The caller knows the file's name.
        """
        transform = InputTransform(**values["preprocess"], decoder=values["decoder"])
        fields = dataclasses.asdict(transform)
        del fields["decoder"]  # another version of this program may have another
        given = validate_transform_fields(**fields)  # as if by a user
        if len(given) < len(fields) - (transform.range is None):
            raise TypeError("a field of preprocess is null")
        texts = {k: v for k, v in values.items() if k not in ("preprocess", "relu")}
        if not all(isinstance(value, str) for value in texts.values()):
            raise TypeError(f"not all of {', '.join(texts)} are text")
        if not isinstance(values["relu"], bool):
            raise TypeError(f"relu is {values['relu']!r}")
        others = {k: v for k, v in values.items() if k not in ("preprocess", "decoder")}
        return cls(**others, transform=transform)

    def digest(self, layer: str = "") -> str:
        """Return the SHA-256 of the spec, or of the spec at one layer.

        Codes of equal digests are comparable.
        """
        return hashlib.sha256(self.canonical_json(layer).encode()).hexdigest()

    def canonical_json(self, layer: str = "", view: dict[str, Any] | None = None) -> str:
        """Return the text that is digested: JSON with sorted keys, without spaces, in ASCII.

        Parameters
        ----------
        layer : str
        view : dict, optional
            `ViewRecipe.of_view`, for codes of a view of each image.
        """
        identity = {"spec": self.to_json(version=2), "layer": layer}
        identity |= {"view": view} if view else {}
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


@dataclass(frozen=True)
class ViewRecipe:
    """How the views of an image are made. View 0 is the image itself.

    View v is a function of the image's bytes, v and the recipe alone: it is the same on every
    machine and in every order. A cache has one recipe.

    Attributes
    ----------
    augmentations : tuple of str
        What may be done to an image, each one of `AUGMENTATIONS`: mirror it, cut a random part
        out, turn it by quarters, change brightness, contrast and saturation. Kept in that order.
    seed : int
        From 0 to 2⁶³ − 1.
    rule : str
        The rule by which these become pixels, with its version.

    Raises
    ------
    InvalidOptionError
        A value is not allowed.

    Examples
    --------
    >>> ViewRecipe(("crop", "flip"))
    ViewRecipe(augmentations=('flip', 'crop'), seed=0, rule='sha256-1')
    """

    augmentations: tuple[str, ...] = ("flip", "crop")
    seed: int = 0
    rule: str = VIEW_RULE

    def __post_init__(self) -> None:
        given = self.augmentations
        texts = isinstance(given, (tuple, list)) and all(isinstance(name, str) for name in given)
        if not texts or not given or not set(given) <= set(AUGMENTATIONS):
            shown = ",".join(map(str, given)) if isinstance(given, (tuple, list)) else given
            allowed = f"one or more of {', '.join(AUGMENTATIONS)}"
            raise InvalidOptionError("augmentations", shown, allowed)
        if type(self.seed) is not int or not 0 <= self.seed < 1 << 63:
            raise InvalidOptionError("seed", self.seed, "a whole number from 0 to 2⁶³ − 1")
        if self.rule != VIEW_RULE:
            raise InvalidOptionError("rule", self.rule, f"{VIEW_RULE}, which this program knows")
        chosen = tuple(name for name in AUGMENTATIONS if name in given)
        object.__setattr__(self, "augmentations", chosen)

    @property
    def distinct(self) -> int | None:
        """How many pictures of one image there can be; None if there is no end to them."""
        if {"crop", "color"} & set(self.augmentations):
            return None
        flips, turns = ("flip" in self.augmentations), ("rotate" in self.augmentations)
        return (2 if flips else 1) * (4 if turns else 1)

    def to_json(self) -> dict[str, Any]:
        """Return plain values, as caches and heads contain them."""
        return {
            "rule": self.rule,
            "augmentations": list(self.augmentations),
            "seed": self.seed,
        }

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Self:
        """Build a recipe from the plain values of `to_json`.

        Raises
        ------
        TypeError, KeyError, ValueError
            `values` is not a recipe that this program knows. The caller knows the file's name.
        """
        return cls(values["augmentations"], values["seed"], values["rule"])

    def of_view(self, view: int) -> dict[str, Any]:
        """Return plain values that tell a view from every other one, for digests."""
        return self.to_json() | {"number": view}

    def __str__(self) -> str:
        return f"{','.join(self.augmentations)} with seed {self.seed}"


def validate_transform_fields(**fields: Any) -> dict[str, Any]:
    """Validate fields of `InputTransform`, and return those that are not None.

    A decoder's name is replaced by its rule.

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
    given = {name: value for name, value in fields.items() if value is not None}
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
