"""Benchmarks of the training of the layers after a cached one."""
