"""Benchmarks of training the layers behind a cached one."""
