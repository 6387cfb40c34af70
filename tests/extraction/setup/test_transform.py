import pytest

from bottleneck.errors import InvalidOptionError
from bottleneck.extraction.setup.transform import transform_fields
from bottleneck.input_transform import DECODERS, InputTransform, validate_transform_fields


def test_a_whole_transform_is_given_as_its_fields_are() -> None:
    transform = InputTransform(fit="pad", range=(0, 9), decoder=DECODERS["fast"])
    fields = transform_fields(transform)
    assert InputTransform(**validate_transform_fields(**fields)) == transform
    assert transform_fields({"crop": 32}) == {"crop": 32} and transform_fields(None) == {}


def test_objects_that_are_no_transform_are_refused() -> None:
    with pytest.raises(InvalidOptionError, match="`transform=32`: must be an InputTransform, or"):
        transform_fields(32)  # type: ignore[arg-type]
