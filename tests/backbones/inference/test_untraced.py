"""Networks that cannot be traced have the codes of plain PyTorch, or say which operation fails."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from bottleneck.backbones.inference.untraced import UntracedNetwork
from bottleneck.backbones.layers.listing import list_layers, select_layers
from bottleneck.backbones.layers.truncated import TruncatedNetwork
from bottleneck.backbones.probing.probe import probe, probe_images
from bottleneck.backbones.tracing.traced import trace
from bottleneck.errors import BackboneError, PrecisionError
from tests.helpers import brought_networks as brought
from tests.helpers.brought_networks import SIDE
from tests.helpers.tiny_networks import frozen

CPU = torch.device("cpu")


def truncated(network: nn.Module, *names: str) -> TruncatedNetwork:
    return TruncatedNetwork(network, select_layers(list_layers(network, SIDE), names))


def untraced(network: nn.Module, layer: str, dtype: torch.dtype = torch.float32) -> UntracedNetwork:
    whole = truncated(network, layer)
    return UntracedNetwork(whole, probe(whole, SIDE), dtype=dtype, device=CPU)


def truth(network: nn.Module, layer: str, images: Tensor) -> Tensor:
    """The pooled code of a layer by a hook on plain PyTorch, image by image."""
    seen: list[Tensor] = []
    handle = network.get_submodule(layer).register_forward_hook(
        lambda _module, _inputs, output: seen.append(output.clone())
    )
    with torch.inference_mode():
        for image in images:
            network(image[None].clone())
    handle.remove()
    found = torch.cat(seen).float().clamp(min=0)
    return found.mean((2, 3)) if found.ndim == 4 else found


@pytest.mark.parametrize(
    ("make", "layer"),
    [
        (brought.shuffles, "fc"),
        (brought.shuffles, "two"),
        (brought.strided, "end"),
        (brought.autograd_function, "end"),
        (brought.in_float64, "fc"),
        (brought.fourier, "norm"),
        (brought.constants, "one"),
        (brought.one_image_alone, "end"),
        (lambda: frozen(brought.Stored()), "end"),
    ],
)
def test_networks_that_cannot_be_traced_give_equal_codes(
    make: Callable[[], nn.Module], layer: str
) -> None:
    network = make()
    images = torch.randn(5, 3, SIDE, SIDE)
    batch = images.contiguous(memory_format=torch.channels_last)
    codes = untraced(network, layer)(batch)[layer]
    torch.testing.assert_close(codes, truth(network, layer, images), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("layer", ["two", "fc"])
def test_a_view_of_a_map_is_traced(layer: str) -> None:
    network = brought.views()
    whole = truncated(network, layer)
    graph = trace(whole, probe(whole, SIDE), dtype=torch.float32, device=CPU)
    assert graph is not None
    images = torch.randn(5, 3, SIDE, SIDE)
    with torch.inference_mode():
        codes = graph(images.contiguous(memory_format=torch.channels_last))[layer]
    torch.testing.assert_close(codes, truth(network, layer, images), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("make", "layer", "words"),
    [
        (brought.fourier, "norm", r"does not run in bfloat16: torch\.fft\.rfft2: .*float32"),
        (brought.constants, "one", r"does not run in bfloat16: torch.*conv2d: .*float32"),
    ],
)
def test_a_precision_that_an_operation_lacks_is_an_error_that_names_it(
    make: Callable[[], nn.Module], layer: str, words: str, capfd: pytest.CaptureFixture[str]
) -> None:
    network = make()
    whole = truncated(network, layer)
    assert trace(whole, probe(whole, SIDE), dtype=torch.bfloat16, device=CPU) is None
    with pytest.raises(PrecisionError, match=words) as caught:
        untraced(network, layer, torch.bfloat16)
    assert "\n" not in str(caught.value)
    assert (caught.value.value, caught.value.allowed) == ("bfloat16", "float32")
    assert capfd.readouterr() == ("", "")  # torch.fx would print a traceback


def test_codes_that_are_not_finite_in_a_precision_deviate_infinitely() -> None:
    network = brought.spans_the_range()
    assert untraced(network, "end").deviation < 1e-4
    assert untraced(network, "end", torch.bfloat16).deviation < 0.1
    assert untraced(network, "end", torch.float16).deviation == float("inf")


def test_a_copy_that_is_another_network_is_refused() -> None:
    class Forgetful(nn.Conv2d):
        def __deepcopy__(self, memo: object) -> nn.Module:
            return nn.Conv2d(3, 6, 3, padding=1)

    network = brought.build(lambda m, x: m.one(x), one=Forgetful(3, 6, 3, padding=1))
    with pytest.raises(BackboneError, match=r"differ by .* from its own.*__deepcopy__"):
        untraced(network, "one")


def test_a_copy_that_reads_what_another_keeps_of_its_last_pass_is_refused() -> None:
    with pytest.raises(BackboneError, match=r"codes that differ .*from its own.*__deepcopy__"):
        untraced(frozen(brought.Stored(in_the_first=True)), "end")


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_network_and_the_images_are_left_as_they_were(dtype: torch.dtype) -> None:
    network = brought.build(lambda m, x: m.one(x.mul_(2)), one=brought.conv())
    before = {name: value.clone() for name, value in network.state_dict().items()}
    copied = untraced(network, "one", dtype)
    first = copied(probe_images(SIDE).to(dtype))["one"]
    assert torch.equal(copied(probe_images(SIDE).to(dtype))["one"], first)
    for name, value in network.state_dict().items():
        assert torch.equal(value, before[name])
