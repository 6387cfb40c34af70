import math

import pytest
import torch

from bottleneck.finetuning.training.schedule import rate_factor


def test_the_rate_rises_for_a_twentieth_and_falls_as_torchs_cosine() -> None:
    steps, warm = 200, 10
    parameter = torch.zeros(1, requires_grad=True)
    optimizer = torch.optim.SGD([parameter], lr=1.0)
    cosine = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=steps - warm)
    for step in range(steps):
        if step < warm:
            assert rate_factor(step / steps) == pytest.approx(step / warm)
            continue
        assert rate_factor(step / steps) == pytest.approx(cosine.get_last_lr()[0])
        optimizer.step()
        cosine.step()
    assert rate_factor(1.0) == pytest.approx(0.0)
    assert math.isclose(rate_factor(0.05), 1.0)
