"""Settings of the whole process that hold while a network runs, and are undone afterwards."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from bottleneck.runtime import SharedContext, retain_freed_memory


@contextmanager
def _tf32_disabled() -> Iterator[None]:
    """Compute float32 convolutions in float32: cuDNN's default is TF32, with 10 of its 23 bits."""
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = before


@contextmanager
def _inference_settings() -> Iterator[None]:
    with retain_freed_memory(), _tf32_disabled():
        yield


INFERENCE_SETTINGS = SharedContext(_inference_settings)
