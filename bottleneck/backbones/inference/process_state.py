"""Settings of the whole process that hold while a network runs, and are undone afterwards."""

from collections.abc import Iterator
from contextlib import contextmanager

from bottleneck.runtime import EXACT_FLOAT32, SharedContext, retain_freed_memory


@contextmanager
def _inference_settings() -> Iterator[None]:
    with retain_freed_memory(), EXACT_FLOAT32:
        yield


INFERENCE_SETTINGS = SharedContext(_inference_settings)
