"""Run a truncated network on batches: hooks, precision, memory, devices."""
