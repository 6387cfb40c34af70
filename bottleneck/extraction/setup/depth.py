"""Choose the range of pixels deeper than 8 bits, or say that images need one and have none."""

from typing import Any

from bottleneck.cache import Cache
from bottleneck.data import ImageSource, measure_depth
from bottleneck.errors import InvalidOptionError
from bottleneck.extraction.setup.transform import TransformLike, transform_fields
from bottleneck.input_transform import InputTransform

_IMAGES_FOR_RANGE = 256
_IMAGES_FOR_NOTES = 16  # so that a run which needs no range hardly takes longer


def choose_range(
    transform: TransformLike | None, source: ImageSource, existing: Cache | None
) -> dict[str, Any]:
    """Replace ``"auto"`` for `range` by numbers: those of the cache, else of the images.

    Parameters
    ----------
    transform : InputTransform or mapping, optional
        Or fields of it; `range` may be ``"auto"``.
    source : ImageSource
        The images, of which up to 256 are measured.
    existing : Cache, optional
        The cache of the run, if it exists. One without a range gives no numbers.

    Returns
    -------
    dict
        Fields of `InputTransform`.

    Raises
    ------
    InvalidOptionError
        None of the images that were tried is deeper than 8 bits; or `transform` is something else.
    """
    fields = transform_fields(transform)
    if fields.get("range") != "auto":
        return fields
    if existing is not None and existing.spec.transform.range is not None:
        return fields | {"range": existing.spec.transform.range}
    depth = measure_depth(source, _IMAGES_FOR_RANGE)
    if depth.limits is None:
        raise InvalidOptionError(
            "range",
            "auto",
            "left out, or two numbers",
            f"none of {depth.tried} images that were tried is deeper than 8 bits",
        )
    return fields | {"range": depth.limits}


def depth_notes(source: ImageSource, transform: InputTransform) -> tuple[str, ...]:
    """Say which range is used, or that 16-bit or floating-point images need one.

    Parameters
    ----------
    source : ImageSource
        The images, of which up to 16 are opened.
    transform : InputTransform
        That of the run.

    Returns
    -------
    tuple of str
        One line, or none.
    """
    if transform.range is not None:
        low, high = transform.range
        return (f"pixels deeper than 8 bits: {low:.9g} is black and {high:.9g} white (`range`)",)
    depth = measure_depth(source, _IMAGES_FOR_NOTES)
    if depth.limits is None:
        return ()
    low, high = depth.limits
    if depth.floating:
        what = f"{depth.floating} of {depth.tried} images tried have floating-point pixels, which "
        return (
            f"WARNING: {what}are rejected without a range: `range={low:.9g},{high:.9g}` reads them",
        )
    if depth.looks_black:
        what = f"{depth.deep} of {depth.tried} images tried are nearly black by the high byte of "
        return (f"WARNING: {what}their 16 bits: `range={low:.9g},{high:.9g}` would serve them",)
    return ()


def missing_range_notes(source: ImageSource, transform: InputTransform) -> tuple[str, ...]:
    """Warn of images that a network gets as nearly black, or not at all, for lack of a range.

    Parameters
    ----------
    source : ImageSource
        New images, of which up to 16 are opened.
    transform : InputTransform
        That of existing codes.

    Returns
    -------
    tuple of str
        One line, or none.
    """
    if transform.range is not None:
        return ()
    again = "for a head that is fitted to images extracted with it"
    return tuple(f"{note}, {again}" for note in depth_notes(source, transform))
