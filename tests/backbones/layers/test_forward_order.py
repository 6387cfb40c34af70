"""The order of a forward pass: what a layer depends on."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from bottleneck.backbones.layers.forward_order import observe_order
from tests.helpers.brought_networks import SIDE, one_image_alone
from tests.helpers.tiny_networks import Plain, Reused, Wired


def needs(network: nn.Module, layer: str, call: int = 0, *, size: int = 16) -> set[str]:
    """The tensors that are used before a layer's output, save counts of batches."""
    order = observe_order(network.eval(), size)
    end = order.outputs[layer, call]
    return {name for name, step in order.tensors.items() if step < end}


def truly_needed(network: nn.Module, layer: str, size: int = 16) -> set[str]:
    """The tensors that make a layer's output NaN if they are."""
    found = set()
    for name, tensor in network.state_dict().items():
        if not tensor.is_floating_point():
            continue
        kept = tensor.clone()
        outputs: list[Tensor] = []
        tensor.fill_(torch.nan)
        module = network.get_submodule(layer)
        handle = module.register_forward_hook(lambda _m, _a, out, to=outputs: to.append(out))
        with torch.inference_mode():
            network(torch.randn(1, 3, size, size))
        handle.remove()
        tensor.copy_(kept)
        if outputs[0].isnan().any():
            found.add(name)
    return found


@pytest.mark.parametrize("layer", ["layer1", "layer2.0", "layer2", "layer3", "fc"])
def test_a_layer_needs_what_changes_its_output(layer: str) -> None:
    network = Plain().eval()
    assert needs(network, layer) == truly_needed(network, layer)


def test_a_network_of_one_image_needs_what_changes_its_output() -> None:
    network = one_image_alone().eval()
    assert needs(network, "end", size=SIDE) == truly_needed(network, "end", SIDE) != set()


def test_later_calls_of_a_module_need_more() -> None:
    network = Reused().eval()
    assert needs(network, "relu") == {"conv1.weight", "conv1.bias"}
    assert needs(network, "relu", 1) == {f"conv{k}.{n}" for k in (1, 2) for n in ("weight", "bias")}


class Views(nn.Module):
    """Uses its weights without their modules, by views."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.fc = nn.Conv2d(3, 4, 3), nn.Linear(4, 2)
        self.scale = nn.Parameter(torch.ones(4))
        self.wide = self.scale.detach().view(1, 4, 1, 1)  # the same memory, in no state dict
        self.unused = nn.Parameter(torch.ones(4))
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        weight = self.conv.weight.data[:, :3]
        x = nn.functional.conv2d(x, weight, self.conv.get_parameter("bias").detach())
        x = self.relu(x * self.wide)
        return torch.as_tensor(self.fc(x.mean((2, 3))))


def test_views_of_tensors_and_those_of_the_network_itself_count() -> None:
    assert needs(Views(), "relu") == {"conv.weight", "conv.bias", "scale"}


def test_a_tensor_with_two_names_has_two_uses() -> None:
    network = nn.Sequential(nn.Conv2d(3, 3, 3), nn.Conv2d(3, 3, 3), nn.ReLU())
    network[1].weight = network[0].weight
    assert {"0.weight", "1.weight"} <= needs(network, "0")


def test_a_module_begins_with_the_first_inside_of_it() -> None:
    network = Plain().eval()
    order = observe_order(network, 16)
    assert order.modules["layer1"] == order.modules["layer1.0"] < order.modules["layer2"]


def test_attention_in_one_operation_needs_its_weights() -> None:
    def wiring(net: Any, x: Tensor) -> Tensor:
        x = net.patch(x).flatten(2).transpose(1, 2)
        return torch.as_tensor(net.head(net.block(x).mean(1)))

    block = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)
    network = Wired(wiring, patch=nn.Conv2d(3, 16, 8, 8), block=block, head=nn.Linear(16, 3))
    needed = needs(network, "head", size=32)
    assert needed == set(network.state_dict())


def test_an_error_of_the_network_ends_the_pass() -> None:
    def wiring(net: Any, x: Tensor) -> Tensor:
        net.conv(x)
        raise RuntimeError("no head")

    network = Wired(wiring, conv=nn.Conv2d(3, 4, 3), fc=nn.Linear(4, 2))
    order = observe_order(network.eval(), 8)
    assert set(order.tensors) == {"conv.weight", "conv.bias"}
