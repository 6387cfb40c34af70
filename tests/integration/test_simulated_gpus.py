"""GPUs that are simulated where there are none refuse what a GPU refuses."""

import copy
import threading

import numpy as np
import pytest
import torch
from torch import nn

from tests.helpers.simulated_gpus import simulated_gpus


def test_it_computes_what_the_cpu_does() -> None:
    torch.manual_seed(0)
    network, images = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)), torch.rand(2, 3, 8, 8)
    network(images).square().sum().backward()
    expected = {name: copy.deepcopy(one.grad) for name, one in network.named_parameters()}
    network.zero_grad()
    with simulated_gpus() as (gpu,):
        values = network.to(gpu)(images.to(gpu))
        assert values.device == gpu
        values.square().sum().backward()
        for name, one in network.named_parameters():
            assert one.grad is not None
            assert one.device == one.grad.device == gpu
            torch.testing.assert_close(one.grad.cpu(), expected[name])


def test_tensors_of_two_devices_do_not_mix() -> None:
    found = []

    def mix() -> None:
        for other in (torch.ones(3), torch.ones(3, device="cuda:1")):
            with pytest.raises(RuntimeError, match="same device"):
                torch.ones(3, device="cuda") + other
        with pytest.raises(RuntimeError, match="invalid device"):
            torch.ones(3, device="cuda:2")
        found.append(float(torch.ones((), device="cuda") + torch.tensor(1.0)))  # a number may be

    with simulated_gpus(2):
        mix()
        other = threading.Thread(target=mix)
        other.start()
        other.join()
    assert found == [2.0, 2.0]


def test_its_tensors_are_no_arrays() -> None:
    with simulated_gpus() as (gpu,):
        tensor = torch.tensor([1.0, 2.0], device=gpu)
        for take in (np.asarray, torch.Tensor.numpy, lambda it: it.numpy()):
            with pytest.raises((TypeError, RuntimeError), match="numpy"):
                take(tensor)
        assert tensor.tolist() == tensor.cpu().numpy().tolist() == [1.0, 2.0]


def test_a_graph_is_run_again_in_the_same_memory_and_waits_for_nothing() -> None:
    with simulated_gpus() as (gpu,):
        images, graph = torch.zeros(2, device=gpu), torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            codes = (images + 1).square()
            for wait in (torch.Tensor.cpu, torch.Tensor.item):
                with pytest.raises(RuntimeError, match="capturing"):
                    wait(codes[0])
        images.copy_(torch.tensor([1.0, 2.0]))
        graph.replay()
        assert codes.tolist() == [4.0, 9.0]
