"""Batch schedulers: the array task that this process is, and scripts for Slurm."""
