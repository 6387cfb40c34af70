"""Layers: list them by a forward pass, take their outputs, and pool these into codes."""
