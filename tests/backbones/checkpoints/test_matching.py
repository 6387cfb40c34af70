"""Matching: a network's tensors are found in a checkpoint by what fits, however it is wrapped."""

import itertools
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from bottleneck.backbones.checkpoints.matching import Match, Place, match_tensors
from bottleneck.backbones.checkpoints.reading import Checkpoint, Entry
from bottleneck.errors import WeightsError
from tests.helpers.tiny_networks import Plain

State = dict[str, Tensor]


def entries(state: State, *keys: str, prefix: str = "") -> list[Entry]:
    return [Entry(keys, prefix + name, value) for name, value in state.items()]


def match(network: nn.Module, *found: list[Entry]) -> Match:
    checkpoint = Checkpoint(Path("w.pth"), tuple(itertools.chain(*found)), ordered=True)
    return match_tensors(checkpoint, network.state_dict(), model="mine")


def weights(seed: int = 0) -> State:
    torch.manual_seed(seed)
    return dict(Plain().state_dict())


def assert_is(found: Match, state: State) -> None:
    assert found.entries.keys() == state.keys()
    assert all(found.entries[name].tensor is value for name, value in state.items())


PREFIX = st.sampled_from(
    ["", "module.", "_orig_mod.", "model.", "backbone.", "net.", "encoder.", "my_part.", "fc."]
)
KEY = st.sampled_from(["state_dict", "model", "net", "model_state_dict", "ema", "my_weights"])


@given(
    keys=st.lists(KEY, max_size=3),
    prefixes=st.lists(PREFIX, max_size=4),
    inner=st.sampled_from([(), ("layer1", "module"), ("layer2", "_orig_mod")]),
    extra=st.booleans(),
)
def test_any_wrapping_is_undone(
    keys: list[str], prefixes: list[str], inner: tuple[str, ...], extra: bool
) -> None:
    state = weights()
    prefix = "".join(prefixes)
    wrapped = [
        Entry(tuple(keys), prefix + name.replace(inner[0], ".".join(inner)) if inner else
              prefix + name, value)
        for name, value in state.items()
    ]  # fmt: skip
    others = [Entry(("optimizer",), "exp_avg", torch.zeros(3))] if extra else []
    found = match(Plain(), others, wrapped)
    assert_is(found, state)
    assert not found.unknown
    assert not found.beside


def test_a_prefix_is_taken_off_as_a_whole() -> None:
    class Dull(nn.Module):  # str.lstrip("module.") would leave nothing of these names
        def __init__(self) -> None:
            super().__init__()
            self.module_ = nn.Linear(2, 2)
            self.led = nn.Linear(2, 2)

    state = dict(Dull().state_dict())
    assert_is(match(Dull(), entries(state)), state)
    assert_is(match(Dull(), entries(state, prefix="module.")), state)


def test_a_network_that_is_wrapped_itself_takes_wrapped_and_bare_weights() -> None:
    state = weights()
    network = nn.DataParallel(Plain())
    for prefix in ("", "module.", "_orig_mod.module."):
        found = match(network, entries(state, prefix=prefix))
        assert {f"module.{name}" for name in state} == found.entries.keys()


def test_wrappers_stay_where_names_would_be_the_same_without_them() -> None:
    class Both(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 1)
            self.module = nn.ModuleDict({"conv": nn.Conv2d(3, 4, 1)})

    state = dict(Both().state_dict())
    assert_is(match(Both(), entries(state)), state)


def test_a_network_inside_of_another_takes_the_weights_of_the_inner_one() -> None:
    class Outer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.backbone = Plain()
            self.output = nn.Linear(4, 2)

    state = weights()
    found = match(Outer(), entries(state, "state_dict"))
    assert found.place == Place(("state_dict",), ("backbone",))
    assert {f"backbone.{name}" for name in state} == found.entries.keys()


# Several in one file


@pytest.mark.parametrize(
    ("keys", "chosen"),
    [
        (("model", "model_ema"), "model_ema"),
        (("state_dict_ema", "state_dict"), "state_dict_ema"),
        (("student", "teacher"), "teacher"),
        (("optimizer", "model"), "model"),
        (("exp_avg", "params"), "params"),
        (("model", "state_dict"), "state_dict"),
        (("momentum", "mine"), "mine"),
        (("encoder_k", "encoder_q"), "encoder_q"),
        (("network_ema", "anything"), "network_ema"),
        (("mine", "model"), "model"),
    ],
)
@pytest.mark.parametrize("as_prefix", [False, True], ids=["keys", "prefixes"])
def test_of_several_that_fit_the_usual_one_is_taken_and_the_other_named(
    keys: tuple[str, str], chosen: str, as_prefix: bool
) -> None:
    states = {key: weights(seed) for seed, key in enumerate(keys)}
    parts = [
        entries(state, prefix=f"{key}.") if as_prefix else entries(state, key)
        for key, state in states.items()
    ]
    found = match(Plain(), *parts)
    assert_is(found, states[chosen])
    assert [place.removed for place in found.alternatives] == [(k,) for k in keys if k != chosen]


def test_names_that_only_contain_those_of_an_average_are_none() -> None:
    assert not Place(("schema", "remainder")).is_average
    assert Place(("module", "ema_model")).is_average


def test_complete_weights_are_preferred_to_an_incomplete_average() -> None:
    state = weights()
    some = {name: value for name, value in weights(1).items() if "running" not in name}
    found = match(Plain(), entries(some, "model_ema"), entries(state, "model"))
    assert_is(found, state)


def test_of_two_averages_the_first_is_taken_and_the_other_named() -> None:
    first, second = weights(0), weights(1)
    found = match(Plain(), entries(first, "model_ema"), entries(second, "teacher"))
    assert_is(found, first)
    assert [place.removed for place in found.alternatives] == [("teacher",)]


def test_two_that_fit_alike_and_have_no_usual_names_are_refused() -> None:
    with pytest.raises(WeightsError, match="fit mine in several places: 'left', 'right'"):
        match(Plain(), entries(weights(0), "left"), entries(weights(1), "right"))


def test_parts_that_have_a_few_names_alike_are_no_rivals() -> None:
    """As blocks of a `Sequential` have them, in a file of the same network by other names."""
    some = {name: value for name, value in weights().items() if name.startswith("layer1.0")}
    left, right = entries(some, prefix="4.0."), entries(dict(some), prefix="4.1.")
    right[0] = Entry((), right[0].name, left[0].tensor + 1)
    with pytest.raises(WeightsError, match=r"does not fit mine: 'layer1.0.weight' is missing"):
        match(Plain(), left, right)


def test_two_that_are_equal_are_one() -> None:
    state = weights()
    found = match(Plain(), entries(state, "left"), entries(dict(state), "right"))
    assert_is(found, state)


# What does not fit


def test_tensors_of_other_shapes_are_found_by_their_names() -> None:
    state = weights() | {"fc.weight": torch.zeros(7, 10), "fc.bias": torch.zeros(7)}
    assert_is(match(Plain(), entries(state, "state_dict", prefix="model.")), state)


def test_unknown_tensors_of_the_network_and_of_other_modules_are_distinguished() -> None:
    state = weights()
    more = {"model.extra.weight": torch.zeros(1), "criterion.weight": torch.zeros(2)}
    found = match(Plain(), entries(state, "s", prefix="model."), entries(more, "s"))
    assert list(found.unknown) == ["extra.weight"]
    assert [entry.name for entry in found.beside] == ["criterion.weight"]


def test_nothing_that_fits_is_refused_with_the_keys_that_were_seen() -> None:
    other = {"stem.weight": torch.zeros(3), "blocks.0.weight": torch.zeros(3)}
    message = (
        "w.pth does not fit mine: 'layer1.0.weight' is missing in the file, which has "
        "'stem.weight', 'blocks.0.weight' under 'state_dict.model'"
    )
    with pytest.raises(WeightsError) as caught:
        match(Plain(), entries(other, "state_dict", "model"))
    assert message in str(caught.value)


def test_other_names_of_the_same_shapes_are_shown_in_pairs() -> None:
    def renamed(state: State) -> list[Entry]:
        kept = [value for name, value in state.items() if "num_batches" not in name]
        return entries({f"part{i}_w": value for i, value in enumerate(kept)})

    with pytest.raises(
        WeightsError, match=r"rename.*'part0_w' to 'layer1\.0\.weight', 'part1_w' to"
    ):
        match(Plain(), renamed(weights()))
    backwards = dict(reversed(weights().items()))
    with pytest.raises(WeightsError, match="name the model that these weights belong to"):
        match(Plain(), renamed(backwards))


def test_names_without_a_shape_that_fits_are_refused_with_the_first() -> None:
    other = {name: torch.zeros(1, 9) for name in weights() if "num_batches" not in name}
    message = r"'layer1.0.weight' is \(1, 9\) in the file and \(6, 3, 3, 3\) in the network"
    with pytest.raises(WeightsError, match=message):
        match(Plain(), entries(other, "net"))


def test_of_several_places_without_a_shape_that_fits_that_of_most_names_is_shown() -> None:
    few = {"fc.bias": torch.zeros(7)}
    most = {name: torch.zeros(1, 9) for name in weights() if "num_batches" not in name}
    message = r"'layer1\.0\.weight' is \(1, 9\) in the file .*\(under 'net'\)"
    with pytest.raises(WeightsError, match=message):
        match(Plain(), entries(few, "other"), entries(most, "net"))


@pytest.mark.parametrize(
    ("tensor", "problem"),
    [
        (torch.zeros(4, device="meta"), "'weight' has no values in the file"),
        (torch.zeros(4).to_sparse(), "'weight' is no plain tensor"),
        (torch.zeros(4, dtype=torch.complex64), "'weight' is no plain tensor"),
    ],
    ids=["meta", "sparse", "complex"],
)
def test_tensors_that_are_not_plain_do_not_fit(tensor: Tensor, problem: str) -> None:
    state = {"weight": tensor, "bias": tensor}
    network = nn.LayerNorm([4])
    with pytest.raises(WeightsError, match=f"{problem}.*: name the model"):
        match(network, entries(state))
