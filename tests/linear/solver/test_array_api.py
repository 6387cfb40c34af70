from types import ModuleType

import array_api_compat
import numpy as np
import pytest
import torch

from bottleneck.linear.solver.array_api import array_namespace, epsilon, to_numpy


@pytest.mark.parametrize(
    ("values", "functions"),
    [
        (np.eye(2), np),
        (np.float64(2), np),  # what a sum over the only axis is
        (torch.eye(2), array_api_compat.array_namespace(torch.eye(2))),
    ],
)
def test_functions_are_those_of_the_arrays_library(values: object, functions: ModuleType) -> None:
    assert array_namespace(values) is functions


def test_other_objects_are_refused() -> None:
    with pytest.raises(TypeError):
        array_namespace([[1.0]])


@pytest.mark.parametrize("values", [np.array([[1.5, -2]], np.float32), torch.tensor([[1.5, -2]])])
def test_arrays_become_numpy_arrays_of_doubles(values: object) -> None:
    host = to_numpy(values)
    assert isinstance(host, np.ndarray)
    assert host.dtype == np.float64
    assert host.tolist() == [[1.5, -2.0]]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_epsilon_is_the_distance_to_the_next_number(dtype: str) -> None:
    one = np.ones(1, dtype)
    assert epsilon(one) == np.nextafter(one, 2) - one
    assert epsilon(torch.from_numpy(one)) == epsilon(one)
