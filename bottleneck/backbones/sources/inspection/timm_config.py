"""The input that timm's configuration of a network asks for.

timm's networks carry it in a dictionary `pretrained_cfg`; `timm.data.create_transform` makes the
preprocessing of an image from it. Nothing here needs timm: any network may have the attribute.
"""

import math
from collections.abc import Mapping
from typing import Any

from torch import nn

from bottleneck.errors import MALFORMED_INPUT_ERRORS, BackboneError, format_error
from bottleneck.input_transform import INTERPOLATIONS, InputTransform, validate_transform_fields

# What timm assumes where a configuration says nothing: timm/data/config.py and constants.py.
_DEFAULTS: dict[str, Any] = {
    "input_size": (3, 224, 224),
    "crop_pct": 0.875,
    "crop_mode": "center",
    "interpolation": "bicubic",
    "mean": (0.485, 0.456, 0.406),
    "std": (0.229, 0.224, 0.225),
}
_FITS = {"center": "crop", "squash": "squash"}  # of InputTransform, by timm's crop_mode
_NEXT_STEP = "build the network in a Python file, and set its `preprocess`"


def find_timm_config(network: nn.Module) -> Mapping[str, Any] | None:
    """Return the configuration that a network of timm carries, or None.

    Parameters
    ----------
    network : nn.Module

    Examples
    --------
    >>> network = nn.Conv2d(3, 8, 3)
    >>> find_timm_config(network) is None
    True
    >>> network.pretrained_cfg = {"input_size": (3, 160, 160), "crop_pct": 0.9}
    >>> find_timm_config(network)["crop_pct"]
    0.9
    """
    config = getattr(network, "pretrained_cfg", None)
    if not isinstance(config, Mapping) or not _DEFAULTS.keys() & config.keys():
        return None  # others may use the name for something else
    size = getattr(getattr(network, "patch_embed", None), "img_size", None)
    if config.get("fixed_input_size") and isinstance(size, tuple):
        # A network of one size that was built for another than its published weights.
        channels, *_ = config.get("input_size", _DEFAULTS["input_size"])
        return {**config, "input_size": (channels, *size)}
    return config


def transform_of_config(config: Mapping[str, Any], *, where: str) -> InputTransform:
    """Return the input transform that a configuration asks for.

    Its crop is the input's side. The shorter side of an image is resized to crop / `crop_pct`,
    rounded down as timm does.

    Parameters
    ----------
    config : mapping of str to object
        timm's `pretrained_cfg`; for missing keys, timm's defaults.
    where : str
        Name of the network or its file, for messages.

    Raises
    ------
    BackboneError
        The input is not square or not of three channels, is made in a way that is not known here,
        or cannot be understood.
    InvalidOptionError
        A value is not allowed.

    Examples
    --------
    >>> config = {"input_size": (3, 224, 224), "crop_pct": 0.9, "mean": (0.5, 0.5, 0.5)}
    >>> transform = transform_of_config(config, where="vit")
    >>> transform.resize, transform.crop, transform.interpolation, transform.mean
    (248, 224, 'bicubic', (0.5, 0.5, 0.5))
    """
    try:
        # A key with None or 0 says nothing, as for timm.
        known = {**_DEFAULTS, **{key: config[key] for key in _DEFAULTS if config.get(key)}}
        channels, height, width = known["input_size"]
        resize = math.floor(height / known["crop_pct"])
        mean, std = tuple(known["mean"]), tuple(known["std"])
    except MALFORMED_INPUT_ERRORS as error:  # a user's own dictionary may have anything
        raise BackboneError(
            f"the pretrained_cfg of {where} is not understood: {format_error(error)}",
            hint=_NEXT_STEP,
        ) from error
    if height != width or channels != len(_DEFAULTS["mean"]):
        raise BackboneError(
            f"{where} expects an input of {channels} × {height} × {width}, by its pretrained_cfg: "
            "the input must be square, of 3 channels",
            hint=_NEXT_STEP,
        )
    # Squashed to more than the crop, timm cuts out the centre, which no `fit` does.
    fits = _FITS if known["crop_pct"] == 1 else ("center",)
    for key, allowed in (("crop_mode", fits), ("interpolation", INTERPOLATIONS)):
        if known[key] not in allowed:
            raise BackboneError(
                f"{where} expects {key} {known[key]!r}, by its pretrained_cfg: it must be "
                f"{', '.join(allowed)}",
                hint=_NEXT_STEP,
            )
    return InputTransform(
        **validate_transform_fields(
            resize=resize,
            crop=height,
            mean=mean,
            std=std,
            interpolation=known["interpolation"],
            fit=_FITS[known["crop_mode"]],
        )
    )
