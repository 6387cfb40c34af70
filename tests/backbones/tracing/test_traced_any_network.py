"""Random networks give their own codes after tracing."""

import copy

import torch
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from bottleneck.backbones.layers.listing import list_layers, select_layers
from bottleneck.backbones.layers.truncated import TruncatedNetwork
from bottleneck.backbones.probing.probe import probe
from bottleneck.backbones.tracing.traced import trace
from tests.helpers.random_networks import Planned, Step, plans
from tests.helpers.tiny_networks import frozen
from tests.helpers.tracing import (
    CPU,
    assert_close,
    images,
    run,
    truth,
)


@settings(
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
@given(
    plan=plans(),
    relu=st.booleans(),
    pool=st.sampled_from(["avg", "max", "none", "2"]),
    data=st.data(),
)
def test_any_network_gives_the_same_codes_when_traced(
    plan: tuple[list[Step], int], relu: bool, pool: str, data: st.DataObject
) -> None:
    steps_, size = plan
    torch.manual_seed(0)
    network = frozen(Planned(steps_))
    layers = list_layers(network, size)
    names = data.draw(
        st.lists(st.sampled_from([layer.name for layer in layers]), min_size=1, unique=True)
    )
    caught = TruncatedNetwork(network, select_layers(layers, names), relu=relu, pool=pool)
    batch = images(3, size)
    expected = truth(network, names, batch, relu=relu, pool=pool)
    for dtype in (torch.float32, torch.bfloat16):
        graph = trace(caught, probe(caught, size), dtype=dtype, device=CPU)
        event(f"{dtype}: {'a graph' if graph else 'none'}")
        if graph is None:
            assert dtype == torch.bfloat16  # which may be far from the network's codes
        elif dtype == torch.float32:
            assert_close(run(graph, batch), expected, dtype)
        else:
            rounded = copy.deepcopy(network).to(dtype)
            plain = TruncatedNetwork(rounded, caught.layers, relu=relu, pool=pool)(batch.to(dtype))
            found = run(graph, batch, dtype)
            for name in names:
                error = float((plain[name] - expected[name]).norm())
                allowed = max(3 * error, 0.03 * float(expected[name].norm()))
                assert float((found[name] - expected[name]).norm()) <= allowed
