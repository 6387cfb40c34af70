"""Networks as they are brought: lazy, of one channel, in other types, quantised, with state."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from bottleneck.backbones.backbone import load_backbone
from bottleneck.backbones.inference.runner import BatchRunner
from bottleneck.backbones.layer_table import layers as table_of
from bottleneck.errors import BackboneError, WeightsError
from bottleneck.extraction.setup.loading import make_spec
from tests.helpers.brought_networks import TwoInputs
from tests.helpers.runners import run
from tests.helpers.tiny_networks import Plain

SMALL = {"crop": 16, "resize": 16}


def codes(network: nn.Module, layer: str, pixels: Tensor, **transform: Any) -> Tensor:
    """The codes of images, (n, 16, 16, 3), through everything that an extraction does."""
    backbone = load_backbone(network, transform=SMALL | transform)
    spec = make_spec(backbone, precision="float32", relu=False, pool="avg")
    runner = BatchRunner(backbone, backbone.select_layers([layer]), spec, [torch.device("cpu")])
    return torch.from_numpy(run(runner, pixels, 4)[layer])


def pixels(count: int = 6) -> Tensor:
    return torch.randint(0, 256, (count, 16, 16, 3), dtype=torch.uint8)


# Lazy modules


def lazy() -> nn.Module:
    return nn.Sequential(nn.LazyConv2d(4, 3), nn.ReLU(), nn.Flatten(), nn.LazyLinear(5))


def test_lazy_modules_get_the_shape_of_the_input_and_the_same_weights_every_time() -> None:
    network = lazy()
    first, again = (load_backbone(network, transform=SMALL) for _ in range(2))
    larger = load_backbone(network, transform={"crop": 20, "resize": 20})
    assert first.weights_digest == again.weights_digest != larger.weights_digest
    assert first.network.get_parameter("3.weight").shape == (5, 4 * 14 * 14)
    assert larger.network.get_parameter("3.weight").shape == (5, 4 * 18 * 18)
    assert [layer.name for layer in first.layers] == ["0", "1", "2", "3"]
    assert type(network[3]) is nn.LazyLinear  # type: ignore[index]


def test_lazy_modules_can_be_listed_at_any_size() -> None:
    assert table_of(lazy(), crop=16)[-1].shape == (5,)


def test_lazy_modules_are_loaded_from_a_weights_file(tmp_path: Path) -> None:
    trained = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 14 * 14, 5))
    torch.save(trained.state_dict(), tmp_path / "w.pth")
    backbone = load_backbone(lazy(), str(tmp_path / "w.pth"), transform=SMALL)
    images = torch.randn(2, 3, 16, 16)
    torch.testing.assert_close(backbone.network(images), trained(images))
    torch.save({"0.weight": torch.zeros(4, 3, 3, 3)}, tmp_path / "part.pth")
    with pytest.raises(WeightsError, match=r"'0\.bias' is missing"):
        load_backbone(lazy(), str(tmp_path / "part.pth"), transform=SMALL).select_layers(["0"])


def test_a_lazy_module_that_is_never_called_is_refused() -> None:
    network = Plain()
    network.unused = nn.LazyLinear(3)
    with pytest.raises(BackboneError, match=r"lazy module 'unused' has no shape"):
        load_backbone(network, transform=SMALL)


# One channel, two inputs


def grey() -> nn.Module:
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Conv2d(4, 5, 3))


def test_a_network_of_one_channel_gets_the_mean_of_three_and_says_so() -> None:
    network, images = grey(), pixels()
    backbone = load_backbone(network, transform=SMALL)
    assert "one channel" in backbone.notes([])[0]
    assert table_of(network, crop=16).notes == backbone.notes([])
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    one = ((images / 255 - mean) / std).mean(3)[:, None]
    torch.testing.assert_close(codes(network, "2", images), network(one).mean((2, 3)).detach())
    assert not network._forward_pre_hooks


def test_a_grey_image_is_given_to_it_as_it_is() -> None:
    network = grey()
    images = pixels()[..., :1].expand(-1, -1, -1, 3).contiguous()
    one = ((images[..., 0] / 255) - 0.5)[:, None] / 0.25
    found = codes(network, "2", images, mean=(0.5,) * 3, std=(0.25,) * 3)
    torch.testing.assert_close(found, network(one).mean((2, 3)).detach(), rtol=1e-4, atol=1e-5)


def test_a_network_that_makes_one_channel_itself_is_left_alone() -> None:
    class Own(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(1, 4, 3)

        def forward(self, x: Tensor) -> Tensor:
            return torch.as_tensor(self.conv(x[:, 1:2]))

    assert load_backbone(Own(), transform=SMALL).notes([]) == ()


def test_a_network_of_lines_of_grey_pixels_gets_one_channel() -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(16 * 16, 5))
    assert load_backbone(network, transform=SMALL).notes([])


def test_a_network_of_other_input_channels_is_refused_with_their_number() -> None:
    with pytest.raises(BackboneError, match=r"first convolution takes 4 channels"):
        _ = load_backbone(nn.Sequential(nn.Conv2d(4, 4, 3)), transform=SMALL).layers


def test_a_network_of_two_inputs_names_them() -> None:
    with pytest.raises(BackboneError, match=r"takes 2 inputs \(image, age\)") as caught:
        _ = load_backbone(TwoInputs(), transform=SMALL).layers
    assert "\n" not in str(caught.value)


# Types


FACTORIES = """
import torch
from torch import nn
from tests.helpers.brought_networks import in_float64
from tests.helpers.tiny_networks import Plain

def half(): return Plain().half()
def double(): return Plain().double()
def buffer():
    network = Plain()
    network.register_buffer("steps", torch.arange(3))
    network.register_buffer("scale", torch.ones(2, dtype=torch.float64))
    return network
def mixed(): return in_float64()
"""


@pytest.mark.parametrize("name", ["half", "double", "buffer", "mixed"])
def test_other_types_of_numbers_are_listed_and_run(tmp_path: Path, name: str) -> None:
    (tmp_path / "net.py").write_text(FACTORIES)
    backbone = load_backbone(f"{tmp_path}/net.py:{name}", transform=SMALL)
    last = backbone.layers[-1].name
    spec = make_spec(backbone, precision="float32", relu=True, pool="avg")
    runner = BatchRunner(backbone, backbone.select_layers([last]), spec, [torch.device("cpu")])
    assert run(runner, pixels(), 4)[last].shape == (6, 4)


def test_the_digest_is_of_the_type_that_was_brought(tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(FACTORIES)
    half, double = (load_backbone(f"{tmp_path}/net.py:{name}") for name in ("half", "double"))
    assert half.weights_digest != double.weights_digest
    assert next(half.network.parameters()).dtype is torch.float32


# Quantised modules, and state that is no tensor


def dynamic(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    network = nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4)
    )
    quantised: nn.Module = torch.ao.quantization.quantize_dynamic(  # type: ignore[no-untyped-call, unused-ignore]
        network, {nn.Linear}, dtype=torch.qint8
    )
    return quantised.eval()


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize("scripted", [False, True])
def test_a_dynamically_quantised_network_rounds_each_image_by_its_own_range(
    scripted: bool,
) -> None:
    network, images = dynamic(), pixels()
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    inputs = ((images / 255 - mean) / std).permute(0, 3, 1, 2)
    with torch.no_grad():
        expected = torch.cat([network(image[None]) for image in inputs])
    if scripted:
        network = torch.jit.script(network)
    found = codes(network, "4", images)
    torch.testing.assert_close(found, expected, rtol=0.02, atol=0.005)
    alone = torch.cat([codes(network, "4", images[i : i + 1]) for i in range(len(images))])
    assert torch.equal(found, alone)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
def test_quantised_weights_are_part_of_the_digest() -> None:
    digests = [load_backbone(dynamic(seed)).weights_digest for seed in (0, 0, 1)]
    assert digests[0] == digests[1] != digests[2]


class Extra(nn.Module):
    def __init__(self, classes: list[str]) -> None:
        super().__init__()
        self.conv, self.classes = nn.Conv2d(3, 4, 3), classes

    def get_extra_state(self) -> dict[str, list[str]]:
        return {"classes": self.classes}

    def forward(self, x: Tensor) -> Tensor:
        return torch.as_tensor(self.conv(x))


def test_extra_state_is_part_of_the_digest() -> None:
    digests = set()
    for classes in (["a"], ["a"], ["b"]):
        torch.manual_seed(0)
        digests.add(load_backbone(Extra(classes)).weights_digest)
    assert len(digests) == 2


def test_a_network_without_values_is_refused(tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(
        "import torch\nfrom torch import nn\n"
        "def build():\n    with torch.device('meta'):\n        return nn.Conv2d(3, 8, 3)\n"
    )
    with pytest.raises(BackboneError, match=r"'weight' is on the meta device.*on the CPU"):
        load_backbone(f"{tmp_path}/net.py:build")


class ReturnsNothing(nn.Sequential):
    """Forgets to return itself, as many a `train` that keeps norms in eval mode does."""

    def train(self, mode: bool = True) -> None:  # type: ignore[override]
        super().train(mode)

    def requires_grad_(self, requires_grad: bool = True) -> None:  # type: ignore[override]
        super().requires_grad_(requires_grad)

    def cpu(self) -> None:  # type: ignore[override]
        super().cpu()


class TakesNoMode(nn.Sequential):
    def train(self) -> None:  # type: ignore[override]
        super().train(True)


class HasNoState(nn.Sequential):
    def get_extra_state(self) -> Any:
        raise ValueError("nothing yet")


def test_methods_of_its_own_need_not_return_the_network() -> None:
    network = load_backbone(ReturnsNothing(nn.Conv2d(3, 6, 3))).network
    assert not network.training
    assert not any(value.requires_grad for value in network.parameters())


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (TakesNoMode, r"cannot be put into eval mode: TypeError: .*train\(\)"),
        (HasNoState, r"gives no state dict: ValueError: nothing yet \(test_preparation\.py, line"),
    ],
)
def test_methods_of_its_own_that_fail_are_said_in_one_line(
    kind: type[nn.Sequential], words: str
) -> None:
    network = kind(nn.Conv2d(3, 6, 3))
    for use in (load_backbone, table_of):
        with pytest.raises(BackboneError, match=words):
            use(network)
