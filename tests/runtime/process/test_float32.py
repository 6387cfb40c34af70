"""What is in float32 is computed in it, whatever the process allows."""

from operator import attrgetter
from typing import Any

import pytest
import torch

from bottleneck.runtime.process.float32 import EXACT_FLOAT32, _operations
from tests.helpers.forked import fork

BACKENDS: Any = torch.backends


@pytest.mark.parametrize("before", [True, False])
def test_tf32_is_as_before_afterwards(before: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", before)
    with pytest.raises(KeyError), EXACT_FLOAT32:
        assert not torch.backends.cudnn.allow_tf32
        raise KeyError
    assert torch.backends.cudnn.allow_tf32 is before


@pytest.mark.parametrize(
    ("module", "name", "value"),
    [
        ("cudnn", "allow_tf32", False),
        ("cuda.matmul", "allow_tf32", True),
        ("cuda.matmul", "fp32_precision", "tf32"),
        ("mkldnn", "fp32_precision", "bf16"),
        ("cudnn.rnn", "fp32_precision", "ieee"),  # and convolutions in TF32, as by default
    ],
)
def test_float32_is_float32_whatever_the_process_allows(
    module: str, name: str, value: object
) -> None:
    # In a process of its own: PyTorch has no way back to where nothing was set.
    child = fork(_check_settings, module, name, value)
    child.join()
    assert child.exitcode == 0


def test_float32_is_float32_where_the_process_allows_products_in_bfloat16() -> None:
    child = fork(_check_medium)
    child.join()
    assert child.exitcode == 0


def _check_settings(module: str, name: str, value: object) -> None:
    setattr(attrgetter(module)(BACKENDS), name, value)
    _check_inside_and_after()


def _check_medium() -> None:
    torch.set_float32_matmul_precision("medium")
    _check_inside_and_after()
    assert torch.get_float32_matmul_precision() == "medium"


def _check_inside_and_after() -> None:
    begun = [operation.fp32_precision for operation in _operations()]
    with EXACT_FLOAT32:
        assert {operation.fp32_precision for operation in _operations()} == {"ieee"}
        # Nothing that PyTorch refuses to read, as it does where operations differ.
        assert not BACKENDS.cudnn.allow_tf32
        assert not BACKENDS.cuda.matmul.allow_tf32
        assert torch.get_float32_matmul_precision() == "highest"
    assert [operation.fp32_precision for operation in _operations()] == begun
