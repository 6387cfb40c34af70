"""TorchScript networks: the outputs of their modules are those of the network they were made of."""

import copy
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
from torch import Tensor, nn

from bottleneck.backbones.backbone import load_backbone
from bottleneck.backbones.layers.truncated import TruncatedNetwork
from bottleneck.backbones.sources.inspection.torchscript import ScriptedNetwork
from bottleneck.errors import BackboneError
from tests.helpers.brought_networks import build, conv
from tests.helpers.tiny_networks import Plain, residual

pytestmark = pytest.mark.filterwarnings("ignore")  # that TorchScript is deprecated

SIDE = 32


class Twice(nn.Module):
    """Calls one module twice, in place, and branches where a map is large."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3)
        self.relu = nn.ReLU(inplace=True)
        self.fc = nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.one(x))
        x = self.relu(self.two(x))
        if float(x.max()) > 1e6:
            x = x * 0
        return torch.as_tensor(self.fc(x.mean((2, 3))))


def outputs(network: nn.Module, names: list[str], images: Tensor) -> dict[str, Tensor]:
    """The outputs of some modules in a plain forward pass, by the name of each call."""
    seen: dict[str, Tensor] = {}
    calls: Counter[str] = Counter()

    def keep(name: str) -> Any:
        def hook(_module: nn.Module, _inputs: Any, output: Tensor) -> None:
            seen[f"{name}_{calls[name]}" if calls[name] else name] = output.clone()
            calls[name] += 1

        return hook

    handles = [network.get_submodule(name).register_forward_hook(keep(name)) for name in names]
    with torch.inference_mode():
        network(images.clone())
    for handle in handles:
        handle.remove()
    return seen


def plain() -> nn.Module:
    return Plain().eval()


def resnet() -> nn.Module:
    network: nn.Module = torchvision.models.resnet18(weights=None)
    return network


@pytest.mark.parametrize(
    ("make", "how"),
    [
        *((plain, "script"), (plain, "trace"), (Twice, "script"), (residual, "trace")),
        (residual, "script"),
        *(pytest.param(resnet, how, marks=pytest.mark.slow) for how in ("script", "trace")),
    ],
)
def test_every_modules_output_is_that_of_the_plain_network(make: Any, how: str) -> None:
    network, images = make().eval(), torch.randn(2, 3, SIDE, SIDE)
    script = torch.jit.script(network) if how == "script" else torch.jit.trace(network, images)  # type: ignore[no-untyped-call, unused-ignore]
    opened = ScriptedNetwork(script)
    names = [name for name, _ in network.named_modules() if name]
    expected = outputs(network, names, images)
    found = outputs(opened, names, images)
    assert found.keys() == expected.keys()
    for name, output in expected.items():
        torch.testing.assert_close(found[name], output)


def test_nothing_behind_the_wanted_modules_is_computed() -> None:
    class Failing(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.view(-1, 7, 11, 13)

    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), Failing()).eval()
    opened = ScriptedNetwork(torch.jit.script(network))
    images = torch.randn(1, 3, SIDE, SIDE)
    assert outputs(opened, ["1"], images).keys() == {"1"}
    with pytest.raises(Exception, match="view"):
        outputs(opened, ["2"], images)


def test_a_file_of_torchscript_is_a_network_from_a_factory(tmp_path: Path) -> None:
    network = plain()
    network.preprocess = {"crop": SIDE, "resize": 40}  # type: ignore[assignment]
    torch.jit.script(network).save(str(tmp_path / "net.pt"))  # type: ignore[no-untyped-call, unused-ignore]
    code = f"import torch\ndef build(): return torch.jit.load({str(tmp_path / 'net.pt')!r})\n"
    (tmp_path / "net.py").write_text(code)
    backbone = load_backbone(f"{tmp_path}/net.py:build", transform={"crop": SIDE})
    own = load_backbone(network)
    assert {layer.name: layer.shape for layer in backbone.layers} == {
        layer.name: layer.shape for layer in own.layers
    }
    assert backbone.weights_digest == own.weights_digest
    assert not any(value.requires_grad for value in backbone.network.parameters())


def test_a_module_that_is_given_is_copied_and_known_by_its_code() -> None:
    torch.manual_seed(0)
    script = torch.jit.script(plain())
    first = load_backbone(script)
    assert first.model.startswith("module:Plain@")
    assert load_backbone(torch.jit.script(plain())).model == first.model
    assert load_backbone(torch.jit.script(Twice())).model.startswith("module:Twice@")
    with torch.no_grad():
        next(first.network.parameters()).zero_()
    assert next(script.parameters()).any()


def test_a_weights_file_is_loaded_into_it(tmp_path: Path) -> None:
    trained = Plain()
    torch.save(trained.state_dict(), tmp_path / "w.pth")
    backbone = load_backbone(torch.jit.script(plain()), str(tmp_path / "w.pth"))
    torch.testing.assert_close(backbone.network.state_dict()["fc.bias"], trained.fc.bias.detach())


def test_a_copy_shares_nothing_with_the_network() -> None:
    opened = ScriptedNetwork(torch.jit.script(plain()))
    copied = copy.deepcopy(opened)
    copied.to(torch.bfloat16)
    assert {value.dtype for value in opened.parameters()} == {torch.float32}
    assert {value.dtype for value in copied.parameters()} == {torch.bfloat16}


def test_a_frozen_network_has_no_layers_and_says_so() -> None:
    frozen = torch.jit.freeze(torch.jit.script(plain()))
    with pytest.raises(BackboneError, match=r"calls no modules: it was frozen.*torch\.jit\.freeze"):
        load_backbone(frozen)


def test_a_network_of_one_channel() -> None:
    network = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU()).eval()
    backbone = load_backbone(torch.jit.script(network), transform={"crop": 16, "resize": 16})
    assert backbone.notes([])
    assert [layer.shape for layer in backbone.layers] == [(4, 14, 14)] * 2


def test_a_scripted_part_of_a_plain_network_is_a_layer() -> None:
    torch.manual_seed(2)
    part = nn.Sequential(nn.Conv2d(6, 6, 3, padding=1), nn.ReLU())
    network = build(
        lambda m, x: m.end(m.part(m.part(m.stem(x)))), stem=conv(), part=part, end=conv(6)
    )
    expected = list(outputs(network, ["part", "end"], images := torch.randn(2, 3, 16, 16)).values())
    network._modules["part"] = torch.jit.script(part)
    backbone = load_backbone(network, transform={"crop": 16, "resize": 16})
    assert [layer.name for layer in backbone.layers] == ["stem", "part", "part_1", "end"]
    codes = TruncatedNetwork(
        copy.deepcopy(backbone.network), backbone.layers[1:], relu=False, pool="none"
    )(images)
    for found, output in zip(codes.values(), expected, strict=True):
        torch.testing.assert_close(found, output)
    assert "part.0.weight" in backbone.network.state_dict()


def test_a_scripted_part_with_another_program_is_another_network() -> None:
    names = {
        load_backbone(nn.Sequential(torch.jit.script(p), conv())).model
        for p in (nn.ReLU(), nn.SiLU())
    }
    assert len(names) == 2
