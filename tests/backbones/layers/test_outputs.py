"""Tensors in what a module returns: found, named, and followed again."""

from collections import OrderedDict, namedtuple
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from bottleneck.backbones.layers.outputs import find_tensors, follow, format_path

A, B = torch.zeros(2, 3), torch.ones(2, 4)
Pair = namedtuple("Pair", "a b")


@dataclass
class Outputs:
    a: Tensor
    rest: list[Tensor | None]


class ModelOutput(OrderedDict):  # type: ignore[type-arg]
    """As transformers has them: a dictionary whose items are attributes too."""


@pytest.mark.parametrize(
    ("output", "paths"),
    [
        (A, [()]),
        ((A, B), [(0,), (1,)]),
        ([None, "text", B], [(2,)]),
        ({"logits": A, "hidden": (A, B)}, [("logits",), ("hidden", 0), ("hidden", 1)]),
        (Pair(A, B), [(0,), (1,)]),
        (Outputs(A, [None, B]), [("a",), ("rest", 1)]),
        (ModelOutput(last=A, pooled=B), [("last",), ("pooled",)]),
        ("text", []),
        (None, []),
    ],
)
def test_every_tensor_is_found_and_followed(output: object, paths: list[object]) -> None:
    found = list(find_tensors(output))
    assert [path for path, _ in found] == paths
    for path, tensor in found:
        assert follow(output, path) is tensor


def test_a_path_in_a_name() -> None:
    assert format_path(()) == ""
    assert format_path(("hidden", 1)) == ":hidden:1"
