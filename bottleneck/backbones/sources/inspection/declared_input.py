"""The input that a network declares: by its `preprocess`, or by timm's configuration of it."""

import dataclasses
from collections.abc import Collection
from typing import Any

from torch import nn

from bottleneck.backbones.sources.inspection.timm_config import (
    find_timm_config,
    transform_of_config,
)
from bottleneck.backbones.sources.inspection.wrappers import unwrap
from bottleneck.errors import InvalidOptionError, UnknownNameError
from bottleneck.input_transform import InputTransform, validate_transform_fields


def declared_transform(network: nn.Module, *, where: str) -> InputTransform:
    """Return the input transform that a network declares, or ImageNet's usual one.

    Parameters
    ----------
    network : nn.Module
        It, or the network in its wrappers, declares the input in a dictionary attribute
        `preprocess` of fields of `InputTransform`; or is one of timm's, which have a
        `pretrained_cfg`.
    where : str
        Name of the network or its file, for messages.

    Raises
    ------
    UnknownNameError
        The dictionary has a key that is no field of `InputTransform`.
    InvalidOptionError
        A value is not allowed.
    BackboneError
        The `pretrained_cfg` asks for an input that cannot be made.

    Examples
    --------
    >>> network = nn.Conv2d(3, 8, 3)
    >>> network.preprocess = {"crop": 64, "resize": 72}
    >>> declared_transform(nn.DataParallel(network), where="mine").crop
    64
    """
    if _preprocess(network) is None:
        network = unwrap(network)
    fields = _preprocess(network)
    if fields is None:
        config = find_timm_config(network)
        return transform_of_config(config, where=where) if config else InputTransform()
    known = [field.name for field in dataclasses.fields(InputTransform)]
    for name in fields:
        if name not in known:
            raise UnknownNameError("field", name, known, of=f"the network's preprocess in {where}")
    try:
        return InputTransform(**validate_transform_fields(**fields))
    except InvalidOptionError as error:
        field, gray = f"preprocess[{error.parameter!r}]", "a grey one repeats its number"
        hint = gray if error.parameter in ("mean", "std") else ""
        allowed = f"{error.allowed}, in the network of {where}"
        raise InvalidOptionError(field, error.value, allowed, hint) from None


def describe_input(
    network: nn.Module, transform: InputTransform, given: Collection[str] = ()
) -> str:
    """Return a sentence on the input that a network declares, or that it declares none.

    It is empty for one of torchvision's, whose weights have an input, and where a network declares
    none and the user chose some of it.

    Parameters
    ----------
    network : nn.Module
    transform : InputTransform
        The network's input, as it is used.
    given : collection of str
        Fields of `transform` that the user chose.

    Examples
    --------
    >>> network = nn.Conv2d(3, 8, 3)
    >>> network.preprocess = {"crop": 64, "resize": 72}
    >>> transform = InputTransform(resize=72, crop=96)
    >>> describe_input(network, transform, ["crop"]).partition(", mean")[0]
    "input by the network's preprocess, with crop as given: shorter side 72, crop 96, bilinear"
    """
    config = find_timm_config(network)
    mean, std = (",".join(f"{v:g}" for v in values) for values in (transform.mean, transform.std))
    fields = (
        f"shorter side {transform.resize}, crop {transform.crop}, {transform.interpolation}, "
        f"mean {mean}, std {std}"
    )
    if _preprocess(network) is not None:
        origin = "the network's preprocess" + (", not its pretrained_cfg" if config else "")
    elif config:
        origin = "timm's pretrained_cfg of the network"
    elif given or type(unwrap(network)).__module__.startswith("torchvision."):
        return ""
    else:
        return f"input: the network has no `preprocess`, so that ImageNet's is assumed: {fields}"
    changed = f", with {', '.join(given)} as given" if given else ""
    return f"input by {origin}{changed}: {fields}"


def _preprocess(network: nn.Module) -> dict[str, Any] | None:
    """Return a network's own dictionary; others may use the name for a method."""
    fields = getattr(network, "preprocess", None)
    return fields if isinstance(fields, dict) else None
