"""Settings of the process that hold while a network runs."""

import pytest
import torch

from bottleneck.backbones.inference.process_state import INFERENCE_SETTINGS


@pytest.mark.parametrize("before", [True, False])
def test_tf32_is_as_before_afterwards(before: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", before)
    with pytest.raises(KeyError), INFERENCE_SETTINGS:
        assert not torch.backends.cudnn.allow_tf32
        raise KeyError
    assert torch.backends.cudnn.allow_tf32 is before
