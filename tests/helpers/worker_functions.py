"""Functions for workers, in a module that they import quickly."""

import gc
import os
import signal
import time
from pathlib import Path

from bottleneck.errors import UnknownNameError


def square(item: int) -> int:
    return item * item


def process(item: int) -> int:
    time.sleep(0.05)  # so that nobody gets them all
    return os.getpid()


def collects(item: int) -> tuple[bool, bool]:
    """Whether garbage is looked for, and whether modules are left out of it."""
    return gc.isenabled(), gc.get_freeze_count() > 0


def variables(item: int) -> dict[str, str]:
    return dict(os.environ)


def slow_on_the_first_card(item: int) -> str:
    card = os.environ["CUDA_VISIBLE_DEVICES"]
    time.sleep(0.2 if card == "first" else 0.02)
    return card


def misspelt(item: int) -> None:
    raise UnknownNameError("layer", "layr3", ["layer2", "layer3"])


class Recorded:
    """Notes each item that it begins in a folder; the deadly one kills its process."""

    def __init__(self, folder: Path, deadly: int, deaths: int) -> None:
        self.folder, self.deadly, self.deaths = folder, deadly, deaths

    def __call__(self, item: int) -> int:
        begun = len(list(self.folder.glob(f"{item}-*")))
        (self.folder / f"{item}-{begun}").touch()
        if item == self.deadly and begun < self.deaths:
            time.sleep(0.3)  # others are at work by now
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(0.5 if item < 2 else 0.01)
        return item

    def times(self, item: int) -> int:
        return len(list(self.folder.glob(f"{item}-*")))


def signalled(name: str) -> int:
    """Goes on after a signal that a whole job gets."""
    os.kill(os.getpid(), getattr(signal, name))
    return os.getpid()
