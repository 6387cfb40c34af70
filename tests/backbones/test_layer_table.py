"""The table of layers: its text, its rows, and what is left out."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from bottleneck.backbones.layer_table import LayerTable, layers
from bottleneck.backbones.layers.layer import Layer
from bottleneck.errors import InvalidOptionError
from tests.helpers.brought_networks import small_transformer
from tests.helpers.networks import NETWORKS, PLAIN
from tests.helpers.tiny_networks import Plain

MAP = Layer("map", "map", 0, (8, 5, 5), False, 0.5)


def test_the_text_has_a_line_for_each_layer() -> None:
    lines = str(LayerTable((MAP,), "2", "float16")).splitlines()
    assert lines[0].split() == ["layer", "shape", "code", "bytes/image", "work", "cut"]
    assert lines[1].split() == ["map", "8×5×5", "8×2×2", "64", "B", "50.0%"]
    unknown = replace(MAP, cost=None)
    assert str(LayerTable((unknown,), "2", "float16")).splitlines()[1].split()[-1] == "-"


def test_its_repr_is_short() -> None:
    assert repr(LayerTable((MAP,), "2", "float16")) == "<LayerTable of 1 layers, pool 2>"


def test_rows_have_the_keys_of_the_commands_json() -> None:
    assert LayerTable((MAP,), "2", "float32").to_list() == [
        {
            "layer": "map",
            "shape": [8, 5, 5],
            "code_shape": [8, 2, 2],
            "size": 32,
            "bytes": 128,
            "work": 0.5,
            "cut": False,
        }
    ]


def test_the_table_is_a_sequence_of_layers() -> None:
    table = layers(PLAIN, crop=32)
    assert [layer.name for layer in table][-1] == table[-1].name == "fc"
    assert (len(table), table[:2]) == (len(list(table)), (table[0], table[1]))
    assert table[0] in table


def test_names_are_escaped_in_a_notebook() -> None:
    html = LayerTable((Layer("<b>", "<b>", 0, (8,), False, 1.0),), "avg", "float16")._repr_html_()
    assert html.startswith("<pre>layer")
    assert "<b>" not in html
    assert "&lt;b&gt;" in html


def test_layers_that_do_not_support_the_pooling_are_left_out() -> None:
    network = small_transformer()
    names = [layer.name for layer in layers(network, crop=48, pool="2")]
    assert "conv_proj" in names
    assert "encoder.ln" not in names
    assert "encoder.ln" in [layer.name for layer in layers(network, crop=48)]


def test_a_module_may_be_given_and_is_not_changed() -> None:
    network = Plain().train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    given = layers(network, crop=32)
    assert given == layers(f"{NETWORKS}:plain", crop=32)
    assert network.training
    assert all(torch.equal(network.state_dict()[name], value) for name, value in before.items())


@pytest.mark.parametrize("wrong", [{"pool": "mean"}, {"dtype": "int8"}, {"crop": 0}])
def test_wrong_options_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(InvalidOptionError, match=next(iter(wrong))):
        layers(PLAIN, **wrong)  # type: ignore[arg-type]


def test_a_network_without_a_class_token_has_no_table_of_it() -> None:
    listed = [layer.name for layer in layers(small_transformer(), crop=48, pool="cls")]
    assert "encoder.ln" in listed
    assert not {"conv_proj", "heads"} & set(listed)
    with pytest.raises(InvalidOptionError, match=r"`pool='cls'`.*no layer of this network"):
        layers(PLAIN, crop=32, pool="cls")


class Alone(nn.Module):
    """A network whose modules, if any, are never called."""

    def __init__(self, **modules: nn.Module) -> None:
        super().__init__()
        for name, module in modules.items():
            self.add_module(name, module)

    def forward(self, images: Tensor) -> Tensor:
        return images.mean((2, 3))


@pytest.mark.parametrize(
    ("network", "pool", "why"),
    [
        (Alone(), "avg", "the network has no modules in it, so that it has no layers to choose"),
        (nn.Conv2d(3, 8, 3), "avg", "the network has no modules in it"),
        (Alone(unused=nn.Flatten()), "avg", "no module of the network returns values for each"),
        (nn.Sequential(nn.Flatten(2)), "2", "no layer of the network supports `pool=2`"),
    ],
)
def test_a_network_without_layers_says_why(network: nn.Module, pool: str, why: str) -> None:
    table = layers(network, crop=32, pool=pool)
    assert (len(table), table.to_list(), table.notes) == (0, [], ())
    assert str(table).startswith(why)
    assert "\n" not in str(table)


def test_a_module_by_itself_is_a_layer_of_a_sequence() -> None:
    table = layers(nn.Sequential(nn.Conv2d(3, 8, 3)), crop=32)
    assert [layer.name for layer in table] == ["0"]
    assert table.why_empty == ""
