"""Tell without loading a network that it is that of an existing cache."""

from dataclasses import replace
from os import PathLike
from typing import Any

from bottleneck.backbones import recall_network
from bottleneck.cache import Cache
from bottleneck.extraction.options import ComputeOptions
from bottleneck.input_transform import validate_transform_fields
from bottleneck.model_reference import ModelReference


def recall_unchanged(
    existing: Cache | None,
    model: object,
    weights: str | PathLike[str],
    transform: dict[str, Any],
    *,
    compute: ComputeOptions,
    relu: bool,
    pool: str,
) -> ModelReference | None:
    """Return how to load the network that is asked for, if it is known to be that of a cache.

    Parameters
    ----------
    existing : Cache, optional
    model : str or nn.Module
    weights : str or PathLike
    transform : dict
        Fields of `InputTransform` that replace those of the weights.
    compute : ComputeOptions
        `precision` is used: ``"auto"`` means that of the cache.
    relu : bool
    pool : str

    Returns
    -------
    ModelReference or None
        None where there is no cache, where what is asked for is not known to be of its spec, or
        where only loading the network can tell.
    """
    known = recall_network(model, weights) if isinstance(model, str) else None
    if existing is None or known is None:
        return None
    spec = existing.spec
    asked = replace(
        spec,
        model=known.model,
        weights_digest=known.weights_digest,
        transform=replace(known.preset, **validate_transform_fields(**transform)),
        precision=spec.precision if compute.precision == "auto" else compute.precision,
        relu=relu,
        pool=pool,
    )
    return known.reference if asked == spec else None
