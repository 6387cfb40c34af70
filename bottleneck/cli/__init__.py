"""The command line: each command parses, calls one library function, and prints."""

from bottleneck.cli.main import main

__all__ = ["main"]
