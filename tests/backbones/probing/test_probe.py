"""A code that is no function of its image is refused, with the layer and the module to blame."""

import random
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from bottleneck.backbones.layers.listing import list_layers, select_layers
from bottleneck.backbones.layers.truncated import TruncatedNetwork
from bottleneck.backbones.probing.probe import probe, probe_images
from bottleneck.errors import BackboneError
from tests.helpers import brought_networks as brought
from tests.helpers.brought_networks import SIDE, build, conv
from tests.helpers.tiny_networks import Branching, Plain, Residual, Reused, frozen


def truncated(network: nn.Module, *names: str) -> TruncatedNetwork:
    layers = list_layers(network, SIDE)
    return TruncatedNetwork(network, select_layers(layers, names) if names else layers)


@pytest.mark.parametrize(
    ("make", "layer", "words"),
    [
        (brought.always_dropout, "two", r"'two'.*Wired\.forward, after 'one', draws random numb"),
        (brought.drop_path, "end", r"'end'.*'drop' \(DropPath\) draws random numbers.*training"),
        (brought.rare_depth, "end", r"'end'.*Wired\.forward draws random numbers"),
        (brought.counting, "end", r"'end'.*Wired\.forward.* changes from pass to pass"),
        (brought.batch_statistics, "end", r"'end'.*'norm' \(BatchNorm2d\) uses statistics of the"),
        (brought.below_the_maximum, "end", r"'end'.*Wired\.forward.* uses statistics of the batch"),
        (brought.centred_batch, "end", r"'end'.*Wired\.forward uses statistics of the batch"),
    ],
)
def test_codes_that_depend_on_more_than_the_image_are_refused_with_the_module(
    make: Callable[[], nn.Module], layer: str, words: str
) -> None:
    with pytest.raises(BackboneError, match=words) as caught:
        probe(truncated(make(), layer), SIDE)
    assert "\n" not in str(caught.value)
    assert "is no function of the image" in str(caught.value)


def test_a_layer_that_is_skipped_at_random_says_so() -> None:
    words = "did not reach layer block in a second pass.*random numbers.*training"
    with pytest.raises(BackboneError, match=words):
        probe(truncated(brought.rare_depth(), "block"), SIDE)


@pytest.mark.parametrize("make", [brought.always_dropout, brought.batch_statistics])
def test_modules_after_the_layer_are_not_probed(make: Callable[[], nn.Module]) -> None:
    assert probe(truncated(make(), "one"), SIDE).takes_batches


@pytest.mark.parametrize("draw", [random.random, np.random.rand])
def test_other_generators_of_random_numbers_are_noticed(draw: Callable[[], float]) -> None:
    network = build(lambda m, x: m.end(m.one(x) * (draw() > 0.3)), one=conv(), end=conv(6))
    with pytest.raises(BackboneError, match="draws random numbers"):
        probe(truncated(network, "end"), SIDE)


def test_a_dropout_with_a_fixed_seed_depends_on_the_place_in_the_batch() -> None:
    def seeded(m: nn.Module, x: Tensor) -> Tensor:
        torch.manual_seed(1)
        return torch.as_tensor(m.get_submodule("one")(x * (torch.rand(x.shape) > 0.5)))

    with pytest.raises(BackboneError, match="is no function of the image"):
        probe(truncated(build(seeded, one=conv()), "one"), SIDE)


def test_random_numbers_that_change_no_code_are_allowed() -> None:
    network = build(lambda m, x: m.one(x + 0 * torch.rand(())), one=conv())
    assert probe(truncated(network, "one"), SIDE).takes_batches


@pytest.mark.parametrize("make", [Plain, Branching, Reused, Residual, brought.views])
def test_a_function_of_the_image_passes_with_its_own_codes(make: Callable[[], nn.Module]) -> None:
    whole = truncated(frozen(make()))
    found = probe(whole, SIDE)
    expected = whole(probe_images(SIDE))
    assert found.takes_batches
    assert found.codes.keys() == expected.keys()
    for layer, code in expected.items():
        assert torch.equal(found.codes[layer], code)


def test_a_network_that_takes_one_image_has_the_codes_of_both() -> None:
    whole = truncated(brought.one_image_alone(), "end")
    found = probe(whole, SIDE)
    assert not found.takes_batches
    for i, image in enumerate(probe_images(SIDE)):
        torch.testing.assert_close(found.codes["end"][i], whole(image[None])["end"][0])


def test_a_layer_with_as_many_rows_as_images_by_chance_is_refused() -> None:
    """A table of two coordinates is as long as the two images with which layers are listed."""
    network = build(
        lambda m, x: m.one(x + m.table(torch.eye(2, SIDE)).sum()), one=conv(), table=nn.Identity()
    )
    with pytest.raises(BackboneError, match="'table' gives 2 × 16 numbers for 1 image"):
        probe(truncated(network, "table"), SIDE)
    assert probe(truncated(network, "one"), SIDE).takes_batches


def test_each_image_passes_the_network_alone_and_beside_the_other() -> None:
    seen: list[int] = []
    network = frozen(Plain())
    whole = truncated(network, "layer2")
    network.get_submodule("layer1").register_forward_pre_hook(
        lambda _module, inputs: seen.append(len(inputs[0]))
    )
    probe(whole, SIDE)
    assert sorted(seen) == [1, 1, 2]


def test_random_numbers_of_the_process_are_untouched() -> None:
    whole = truncated(brought.always_dropout(), "fc")
    before = torch.get_rng_state(), random.getstate(), np.random.get_state()
    with pytest.raises(BackboneError):
        probe(whole, SIDE)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert random.getstate() == before[1]
    assert str(np.random.get_state()) == str(before[2])


def test_a_network_that_fails_says_where() -> None:
    def failing(m: nn.Module, x: Tensor) -> Tensor:
        calls.append(1)
        if len(calls) > 3:
            raise KeyError("depth")
        return torch.as_tensor(m.get_submodule("one")(x))

    calls: list[int] = []
    whole = truncated(build(failing, one=conv()), "one")
    calls += [1, 1, 1]
    with pytest.raises(BackboneError, match=r"failed: KeyError: 'depth' \(test_probe\.py, line"):
        probe(whole, SIDE)
