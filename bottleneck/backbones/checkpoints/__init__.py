"""Checkpoints: what a weights file is, its tensors, and which of them are a network's."""
