"""A cache is the subject of these tests, and not what runs the network whose codes it holds."""

import pytest


@pytest.fixture(autouse=True)
def network_of_modules(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a network be run by its own modules, as it is for a few images: no program is traced."""
    monkeypatch.setattr("bottleneck.backbones.inference.forward_choice._FEW", 1000)
