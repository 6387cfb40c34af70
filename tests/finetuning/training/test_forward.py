import subprocess
import sys

import numpy as np
import pytest
import torch
from torch import nn

from bottleneck.finetuning.training.forward import logits, memory_format, tail_codes
from bottleneck.finetuning.training.module import TunedModule
from tests.helpers.tails import a_tail, examples, on_cpu


def test_an_image_is_judged_by_the_mean_of_its_views() -> None:
    module = TunedModule(a_tail(dropout=0.5, inner=0.5), classes=3).train()
    some = examples(10, views=3).take(np.array([1, 2, 7]))
    values = logits(module, some, on_cpu(batch_size=4))
    assert module.training
    module.eval()
    with torch.no_grad():
        each = [module(torch.from_numpy(maps[[1, 2, 7]])).numpy() for maps in some.batches.maps]  # type: ignore[attr-defined]
    assert np.allclose(values, np.mean(each, axis=0), atol=1e-6)


def test_logits_are_rounded_to_the_precision() -> None:
    module, some = TunedModule(a_tail(), classes=3).eval(), examples(10)
    precise, lower = (
        logits(module, some, on_cpu(batch_size=4, precision=precision))
        for precision in ("float32", "bfloat16")
    )
    assert not np.array_equal(precise, lower)
    assert np.allclose(precise, lower, rtol=0.1, atol=0.05)


def test_codes_are_the_tails_for_each_view_of_each_image() -> None:
    tail, some = a_tail(), examples(10, views=2, groups=np.arange(10))
    codes = tail_codes(tail, some, on_cpu(batch_size=3, precision="bfloat16"))
    assert (codes.views, codes.classes, codes.codes.shape) == (2, 3, (20, 6))
    assert codes.targets is some.targets
    assert codes.groups is some.groups
    both = np.stack(some.batches.maps, axis=1).reshape(20, 4, 5, 5)  # type: ignore[attr-defined]
    (rows,) = codes.codes.blocks()
    assert np.allclose(rows, tail(torch.from_numpy(both)).detach().numpy(), atol=1e-6)


def test_evaluation_is_in_float32_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
    seen, tail = [], a_tail()
    tail.register_forward_hook(lambda *_: seen.append(torch.backends.cudnn.allow_tf32))
    tail_codes(tail, examples(4), on_cpu())
    logits(TunedModule(tail, classes=3), examples(4), on_cpu())
    assert len(seen) >= 2
    assert not any(seen)
    assert torch.backends.cudnn.allow_tf32


@pytest.mark.parametrize(
    ("channels", "kernel", "stride", "precision", "last"),
    [
        (12, 3, 2, "float32", True),
        (12, 1, 1, "float32", True),
        (16, 1, 2, "float32", True),
        (12, 1, 2, "float32", False),
        (16, 3, 1, "bfloat16", False),
    ],
)
def test_channels_come_last_where_that_is_faster_and_sound(
    channels: int, kernel: int, stride: int, precision: str, last: bool
) -> None:
    module = nn.Sequential(nn.ReLU(), nn.Conv2d(channels, 8, kernel, stride))
    assert (memory_format(module, precision) is torch.channels_last) == last


_BACKWARD = """
import torch
from torch import nn
from bottleneck.finetuning.training.forward import memory_format, to_device
torch.set_num_threads(2)
module = nn.Sequential(nn.Conv2d(8, 16, 1, stride=2), nn.ReLU())
for step in range(100):
    maps = torch.randn(32 - step % 2, 8, 32, 32)
    maps = to_device(maps, torch.device("cpu"), memory_format(module, "float32"))
    module(maps).sum().backward()
"""


@pytest.mark.slow
def test_a_backward_pass_on_two_threads_stays_in_its_memory() -> None:
    done = subprocess.run([sys.executable, "-c", _BACKWARD], check=False)  # may end by a signal
    assert done.returncode == 0
