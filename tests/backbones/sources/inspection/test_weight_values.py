import torch
from torch import nn

from bottleneck.backbones.sources.inspection.weight_values import digest_weights
from tests.helpers.tiny_networks import Plain


def test_the_digest_sees_values_names_shapes_and_types() -> None:
    torch.manual_seed(0)
    base = Plain()
    digests = {digest_weights(base)}

    def differs(network: nn.Module) -> None:
        digest = digest_weights(network)
        assert digest not in digests
        digests.add(digest)

    with torch.no_grad():
        base.fc.bias[0] += 1e-6
    differs(base)
    differs(base.to(torch.bfloat16))
    differs(nn.Sequential(nn.Linear(4, 1, bias=False)))
    differs(nn.Sequential(nn.Linear(1, 4, bias=False)))


def test_the_digest_of_equal_weights_is_equal() -> None:
    networks = []
    for _ in range(2):
        torch.manual_seed(3)
        networks.append(Plain())
    assert digest_weights(networks[0]) == digest_weights(networks[1])


def test_the_digest_leaves_out_the_given_tensors() -> None:
    network = Plain()
    before = digest_weights(network, {"fc.weight"})
    with torch.no_grad():
        network.fc.weight.add_(1)
    assert digest_weights(network, {"fc.weight"}) == before != digest_weights(network)


def test_the_digest_sees_the_values_of_sparse_tensors() -> None:
    digests = set()
    for value in (1.0, 2.0):
        network = nn.Module()
        network.register_buffer("graph", torch.diag(torch.tensor([value, 0.0])).to_sparse())
        digests.add(digest_weights(network))
    assert len(digests) == 2
