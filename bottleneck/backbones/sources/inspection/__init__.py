"""Inspect a network as its source gives it: wrappers, program, input, architecture, weights."""
