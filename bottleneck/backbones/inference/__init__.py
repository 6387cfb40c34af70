"""Run a truncated network on batches: hooks, tracing, fusion, devices."""
