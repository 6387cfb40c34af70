"""A transform as users give it: whole, or some of its fields."""

import dataclasses
from collections.abc import Mapping
from typing import Any, TypeAlias

from bottleneck.errors import InvalidOptionError
from bottleneck.input_transform import InputTransform

TransformLike: TypeAlias = InputTransform | Mapping[str, Any]


def transform_fields(transform: TransformLike | None) -> dict[str, Any]:
    """Return the fields of a transform that were given, by name; their values may be wrong.

    Parameters
    ----------
    transform : InputTransform or mapping of str to object, optional

    Raises
    ------
    InvalidOptionError
        It is neither a transform nor fields of one.

    Examples
    --------
    >>> transform_fields({"crop": 32}), transform_fields(InputTransform(crop=32))["crop"]
    ({'crop': 32}, 32)
    """
    if isinstance(transform, InputTransform):
        return transform.to_fields()
    if not isinstance(transform, Mapping | None):
        names = (field.name for field in dataclasses.fields(InputTransform))
        allowed = "an InputTransform, or a dictionary of some of its fields"
        raise InvalidOptionError("transform", transform, allowed, f"these are {', '.join(names)}")
    return dict(transform or {})
