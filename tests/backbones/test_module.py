"""Networks that the caller built: copied, never changed, and told apart."""

import copy
import functools
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from bottleneck.backbones.backbone import build_skeleton, load_backbone
from bottleneck.errors import BackboneError, InvalidOptionError, UnknownNameError, WeightsError
from tests.helpers.tiny_networks import Plain, Wired, branching


def snapshot(network: nn.Module) -> list[tuple[object, ...]]:
    tensors = [*network.named_parameters(), *network.named_buffers()]
    return [
        *((name, module.training, len(module._forward_hooks)) for name, module in
          network.named_modules()),
        *((name, value.data_ptr(), value.dtype, value.stride(), value.requires_grad,
           value.detach().double().sum().item()) for name, value in tensors),
    ]  # fmt: skip


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_the_callers_network_is_copied_and_never_changed(dtype: torch.dtype) -> None:
    network = Plain().train().to(dtype)
    before = snapshot(network)
    backbone = load_backbone(network)
    _ = backbone.layers
    assert snapshot(network) == before
    assert not any(module.training for module in backbone.network.modules())
    assert {value.dtype for value in backbone.network.parameters()} == {torch.float32}
    assert not any(value.requires_grad for value in backbone.network.parameters())
    with torch.no_grad():
        network.fc.bias.add_(1)
    assert not torch.equal(network.fc.bias.float(), backbone.network.get_parameter("fc.bias"))


def test_identity_and_reference_name_the_class() -> None:
    backbone = load_backbone(Plain())
    name, _, digest = backbone.model.partition("@")
    assert (name, len(digest)) == ("module:Plain", 16)
    assert (backbone.reference.model, backbone.reference.weights) == ("module:Plain", "DEFAULT")


def test_weights_are_those_of_the_network_or_of_a_file(tmp_path: Path) -> None:
    one, other = Plain(), Plain()
    torch.save(other.state_dict(), tmp_path / "w.pth")
    digests = [load_backbone(one, weights).weights_digest for weights in ("DEFAULT", "none")]
    loaded = load_backbone(one, str(tmp_path / "w.pth"))
    assert digests[0] == digests[1] == load_backbone(copy.deepcopy(one)).weights_digest
    assert loaded.weights_digest == load_backbone(other).weights_digest != digests[0]
    assert loaded.reference.weights == str(tmp_path / "w.pth")
    with pytest.raises(UnknownNameError, match="weights of Plain"):
        load_backbone(one, "IMAGENET1K_V1")
    with pytest.raises(WeightsError, match="no weights file"):
        load_backbone(one, str(tmp_path / "absent.pth"))


def test_its_preprocess_dictionary_is_honoured() -> None:
    network = Plain()
    network.preprocess = {"crop": 48, "resize": 50}  # type: ignore[assignment]
    assert load_backbone(network).transform.crop == 48
    assert build_skeleton(network)[1].resize == 50
    network.preprocess = {"crp": 48}  # type: ignore[assignment]
    with pytest.raises(UnknownNameError, match="preprocess in Plain"):
        load_backbone(network)


def test_a_reference_to_a_given_network_cannot_be_loaded() -> None:
    with pytest.raises(BackboneError, match=r"module:Plain .*give the same network.*`model`"):
        load_backbone("module:Plain")


@pytest.mark.parametrize("wrong", [Plain, 3, None])
def test_what_is_neither_a_name_nor_a_network_is_refused(wrong: object) -> None:
    with pytest.raises(InvalidOptionError, match=r"torch\.nn\.Module"):
        load_backbone(wrong)  # type: ignore[arg-type]


def test_a_network_that_cannot_be_copied_is_refused() -> None:
    network = Plain()
    network.lock = threading.Lock()  # type: ignore[assignment]
    with pytest.raises(BackboneError, match=r"Plain cannot be copied.*`model=path/to/file"):
        load_backbone(network)


def test_a_network_with_lazy_parameters_is_refused() -> None:
    with pytest.raises(BackboneError, match="lazy parameters"):
        load_backbone(nn.Sequential(nn.LazyConv2d(4, 3)))


# The digest of the architecture


def identity(network: nn.Module) -> str:
    return load_backbone(network).model


@dataclass
class Settings:
    slope: float = 0.1


class Scaled(Plain):
    def __init__(self, scale: object) -> None:
        super().__init__()
        self._scale = scale


class Doubled(Plain):
    def forward(self, x: Tensor) -> Tensor:
        return 2 * super().forward(x)


def renamed_class(forward: Callable[..., Tensor]) -> Plain:
    network: Plain = type("Doubled", (Plain,), {"forward": forward})()
    return network


def with_buffer(value: float) -> nn.Module:
    network = Plain()
    network.register_buffer("shift", torch.tensor([value]), persistent=False)
    return network


def with_hook() -> nn.Module:
    network = Plain()
    network.fc.register_forward_hook(lambda _module, _args, output: output + 1)
    return network


def test_equal_architectures_have_equal_identities_whatever_their_weights() -> None:
    assert identity(Plain()) == identity(Plain().train()) == identity(Plain().double())
    assert identity(branching()) == identity(branching())
    for scale in (
        2.0,
        [1, {"a": None}],
        Settings(),
        functools.partial(F.leaky_relu, negative_slope=0.2),
    ):
        assert identity(Scaled(scale)) == identity(Scaled(scale))


def test_other_architectures_have_other_identities() -> None:
    networks: list[nn.Module] = [
        Plain(),
        Doubled(),
        renamed_class(lambda self, x: 3 * Plain.forward(self, x)),
        renamed_class(lambda self, x: 4 * Plain.forward(self, x)),
        *(Scaled(scale) for scale in (1, 2, 2.0, "2", None, (2,), {2}, {"x": 2}, F.relu, F.silu)),
        *(Scaled(scale) for scale in (Settings(0.1), Settings(0.2), torch.ones(2), torch.zeros(2))),
        *(Scaled(functools.partial(F.leaky_relu, negative_slope=slope)) for slope in (0.1, 0.2)),
        *(Scaled(torch.ones(2).numpy() * scale) for scale in (1, 2)),
        *(with_buffer(value) for value in (0.0, 1.0)),
        with_hook(),
        nn.Sequential(nn.Conv2d(3, 3, 3, padding=1)),
        nn.Sequential(nn.Conv2d(3, 3, 3, padding=0)),
        nn.Sequential(nn.Conv2d(3, 3, 3, padding=1), nn.ReLU()),
        nn.Sequential(nn.Conv2d(3, 3, 3, padding=1), nn.SiLU()),
        nn.TransformerEncoderLayer(8, 2, 16, norm_first=True),
        nn.TransformerEncoderLayer(8, 2, 16, norm_first=False),
        nn.TransformerEncoderLayer(8, 4, 16),
        Wired(lambda self, x: self.conv(x), conv=nn.Conv2d(3, 3, 3)),
        Wired(lambda self, x: -self.conv(x), conv=nn.Conv2d(3, 3, 3)),
    ]
    identities = [identity(network) for network in networks]
    assert len(set(identities)) == len(identities)


def test_a_class_without_source_code_is_known_by_its_bytecode() -> None:
    def made(factor: int) -> nn.Module:
        names: dict[str, type[nn.Module]] = {"Plain": Plain}
        exec(
            "class Typed(Plain):\n"
            "    def forward(self, x):\n"
            f"        return {factor} * Plain.forward(self, x)\n",
            names,
        )
        return names["Typed"]()

    assert identity(made(2)) == identity(made(2)) != identity(made(3))
