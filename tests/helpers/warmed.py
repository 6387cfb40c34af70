"""Work that each process of `forked` would do again: done once, where this module is imported."""

import gc
from importlib import import_module
from threading import RLock
from unittest.mock import patch

import torch
from tqdm import tqdm

from bottleneck.backbones.inference.forward_choice import choose_forwards
from bottleneck.backbones.layers.listing import list_layers
from bottleneck.backbones.layers.truncated import TruncatedNetwork
from bottleneck.cli.main import COMMANDS
from tests.helpers.tiny_networks import plain


def _warm() -> None:
    """Import every command, and trace a network, without a thread: this process is forked."""
    for name in COMMANDS:
        import_module(f"bottleneck.cli.commands.{name}")
    torch.set_num_threads(1)
    # Its own lock is one for all processes: whoever is killed while they hold it stops all others.
    tqdm.set_lock(RLock())
    network = plain().eval().requires_grad_(False)
    truncated = TruncatedNetwork(network, list_layers(network, size=32))
    with patch.object(tqdm, "monitor_interval", 0):  # or PyTorch's progress bar begins a thread
        choose_forwards(truncated, 32, dtype=torch.float32, devices=[torch.device("cpu")])
    gc.freeze()
    gc.enable()


_warm()
