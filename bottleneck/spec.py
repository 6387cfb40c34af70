"""The spec: everything that decides the numbers of a code, frozen, with one digest."""

import dataclasses
import hashlib
import json
import re
from dataclasses import dataclass
from typing import Any, Self

from bottleneck.errors import SpecMismatchError
from bottleneck.input_transform import InputTransform, validate_transform_fields
from bottleneck.pooling import split_pooled_name

# The fields of a transform that cache format 3 added. With these values a transform is
# one of format 2, and they are left out of the digest: codes of both formats are comparable.
_MEANT_BEFORE = {"fit": "crop", "range": None}


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
        One of `bottleneck.pooling.POOLINGS`, or a grid's side as digits, for layers whose names do
        not end in a pooling of their own.
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


def _flat(values: dict[str, Any]) -> dict[str, Any]:
    return {**{k: v for k, v in values.items() if k != "preprocess"}, **values["preprocess"]}


def _short(value: object) -> str:
    text = str(value)
    return f"{text[:12]}…" if re.fullmatch("[0-9a-f]{64}", text) else text
