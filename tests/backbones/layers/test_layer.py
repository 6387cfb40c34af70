"""A layer: the poolings that it supports, and the shapes of its codes."""

import pytest

from bottleneck.backbones.layers.layer import Layer
from bottleneck.errors import InvalidOptionError
from bottleneck.pooling import split_pooled_name


@pytest.mark.parametrize(
    ("shape", "channels_last", "pool", "expected"),
    [
        ((8, 5, 5), False, "avg", (8,)),
        ((8, 5, 5), False, "3", (8, 3, 3)),
        ((5, 5, 8), True, "max", (8,)),
        ((5, 5, 8), True, "2", (8, 2, 2)),
        ((8, 5, 5), False, "none", (8, 5, 5)),
        ((197, 16), True, "avg", (16,)),
        ((10,), False, "avg", (10,)),
        ((10,), False, "2", (10,)),
    ],
)
def test_code_shapes(
    shape: tuple[int, ...], channels_last: bool, pool: str, expected: tuple[int, ...]
) -> None:
    layer = Layer("x", "x", 0, shape, channels_last, 1.0)
    assert layer.code_shape(pool) == expected


def test_a_grid_of_tokens_is_refused() -> None:
    with pytest.raises(InvalidOptionError, match=r"`pool='2'`.*'x'.*197 × 16"):
        Layer("x", "x", 0, (197, 16), True, 1.0).code_shape("2")


def test_a_refusal_names_the_poolings_of_the_layer() -> None:
    tokens = Layer("x", "x", 0, (197, 16), True, 1.0, class_token=True)
    with pytest.raises(InvalidOptionError, match=r"`pool='2'`: must be avg, max, none or cls at"):
        tokens.code_shape("2")
    patches = Layer("x", "x", 0, (196, 16), True, 1.0)
    with pytest.raises(InvalidOptionError, match=r"`pool='cls'`: must be avg, max or none at"):
        patches.code_shape("cls")


def test_a_pooling_of_its_own_takes_the_specs_place() -> None:
    layer = Layer("x", "x", 0, (8, 5, 5), False, 1.0)
    assert layer.pooled("none").code_shape("avg") == (8, 5, 5)
    assert layer.pooled("max").code_shape("none") == (8,)
    assert (layer.pooled("5").name, layer.pooled("5").source) == ("x@5x5", layer.source)


@pytest.mark.parametrize(
    ("shape", "name", "words"),
    [
        ((10,), "x@max", "'x' without a pooling: the layer gives 10"),
        ((10,), "x@none", "'x' without a pooling"),
        ((10, 1, 1), "x@2x2", "'x' without a pooling: the layer gives 10 × 1 × 1"),
        ((8, 5, 3), "x@4x4", "a grid of at most 3 × 3: the layer gives 8 × 5 × 3"),
    ],
)
def test_a_pooling_that_repeats_values_is_refused(
    shape: tuple[int, ...], name: str, words: str
) -> None:
    with pytest.raises(InvalidOptionError, match=f"`layers='{name}'`: must be {words}"):
        Layer("x", "x", 0, shape, False, 1.0).pooled(split_pooled_name(name)[1] or "")


def test_a_layer_of_one_position_may_be_kept_as_it_is() -> None:
    assert Layer("x", "x", 0, (10, 1, 1), False, 1.0).pooled("none").code_shape("avg") == (10, 1, 1)


def test_a_pooling_that_the_layer_has_not_is_refused() -> None:
    with pytest.raises(InvalidOptionError, match="no class token"):
        Layer("x", "x", 0, (8, 5, 5), False, 1.0).pooled("cls")
