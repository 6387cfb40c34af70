"""Run a truncated network on batches: runtimes, precision, memory, devices, threads."""
