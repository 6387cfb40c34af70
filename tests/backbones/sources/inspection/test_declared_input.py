import pytest
from torch import nn

from bottleneck.backbones.sources.inspection.declared_input import declared_transform
from bottleneck.errors import InvalidOptionError


def test_a_mean_of_one_number_is_refused_as_the_networks_own() -> None:
    network = nn.Conv2d(1, 8, 3)
    network.preprocess = {"crop": 64, "mean": (0.5,)}  # type: ignore[assignment]
    with pytest.raises(InvalidOptionError) as caught:
        declared_transform(network, where="gray.py:net")
    assert str(caught.value) == (
        "`preprocess['mean']='0.5'`: must be three numbers, for red, green and blue, in the "
        "network of gray.py:net: a grey one repeats its number"
    )
