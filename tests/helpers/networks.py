"""The networks of the tests, and an input small enough that they are quick."""

from pathlib import Path

NETWORKS = Path(__file__).with_name("tiny_networks.py")
PLAIN = f"{NETWORKS}:plain"

SMALL = {"resize": 32, "crop": 32}
