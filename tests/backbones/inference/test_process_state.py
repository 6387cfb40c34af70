"""Settings of the process that hold while a network runs."""

import pytest
import torch

from bottleneck.backbones.inference.process_state import INFERENCE_SETTINGS


def test_tf32_is_not_allowed_while_a_network_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
    with INFERENCE_SETTINGS:
        assert not torch.backends.cudnn.allow_tf32
    assert torch.backends.cudnn.allow_tf32
