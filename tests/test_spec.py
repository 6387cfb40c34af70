import dataclasses
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bottleneck.errors import SpecMismatchError
from bottleneck.input_transform import FITS, InputTransform
from bottleneck.spec import Spec

SPEC = Spec("resnet50", "ab" * 32, InputTransform(decoder="pillow-1"), "float32", True, "avg")


def test_a_spec_survives_json() -> None:
    assert Spec.from_json(json.loads(json.dumps(SPEC.to_json()))) == SPEC


def test_fields_of_older_versions_keep_their_digest() -> None:
    preprocess = SPEC.to_json()["preprocess"]
    assert (preprocess["fit"], preprocess["range"]) == ("crop", None)
    digested = json.loads(SPEC.canonical_json())["spec"]["preprocess"]
    assert set(preprocess) - set(digested) == {"fit", "range"}
    other = dataclasses.replace(SPEC, transform=InputTransform(fit="pad", range=(0, 1)))
    assert json.loads(other.canonical_json())["spec"] == json.loads(json.dumps(other.to_json()))


def test_a_spec_of_an_older_version_is_read() -> None:
    assert Spec.from_json(SPEC.to_json(version=2)) == SPEC


@given(
    resize=st.integers(1, 1000),
    mean=st.tuples(*[st.floats(0, 1)] * 3),
    pool_relu=st.tuples(st.sampled_from(["avg", "max", "none", "3"]), st.booleans()),
    fit=st.sampled_from(FITS),
    limits=st.none() | st.tuples(st.floats(-10, 0), st.floats(1, 1e6)),
)
def test_any_spec_survives_json_with_its_digest(
    resize: int,
    mean: tuple[float, float, float],
    pool_relu: tuple[str, bool],
    fit: str,
    limits: tuple[float, float] | None,
) -> None:
    transform = InputTransform(resize=resize, mean=mean, fit=fit, range=limits)
    spec = dataclasses.replace(SPEC, transform=transform, pool=pool_relu[0], relu=pool_relu[1])
    again = Spec.from_json(json.loads(json.dumps(spec.to_json())))
    assert (again, again.digest("x")) == (spec, spec.digest("x"))


CHANGES: list[dict[str, Any]] = [
    {"model": "resnet18"},
    {"weights_digest": "cd" * 32},
    {"transform": InputTransform(resize=232)},
    {"transform": InputTransform(std=(0.5, 0.5, 0.5))},
    {"transform": InputTransform(fit="squash")},
    {"transform": InputTransform(range=(0, 4095))},
    {"transform": InputTransform(decoder="other-1")},
    {"precision": "bfloat16"},
    {"relu": False},
    {"pool": "max"},
]


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: next(iter(change)))
def test_everything_that_decides_a_number_changes_the_digest(change: dict[str, Any]) -> None:
    other = dataclasses.replace(SPEC, **change)
    assert other.digest() != SPEC.digest()
    assert other.digest("layer3") != SPEC.digest("layer3")
    with pytest.raises(SpecMismatchError):
        SPEC.require(other, this="a", that="b", next_step="c")


def test_each_layer_has_a_digest_of_its_own() -> None:
    assert len({SPEC.digest(), SPEC.digest("layer3"), SPEC.digest("layer4")}) == 3


def test_a_difference_is_spelled_out_with_both_values() -> None:
    other = dataclasses.replace(SPEC, pool="max", transform=InputTransform(crop=256))
    with pytest.raises(SpecMismatchError) as caught:
        SPEC.require(other, this="cache x", that="this run", next_step="use -o")
    assert "pool is avg in cache x and max in this run" in str(caught.value)
    assert "crop is 224 in cache x and 256 in this run" in str(caught.value)
    assert "resize" not in str(caught.value)


def test_equal_specs_may_be_mixed() -> None:
    SPEC.require(dataclasses.replace(SPEC), this="a", that="b", next_step="c")
