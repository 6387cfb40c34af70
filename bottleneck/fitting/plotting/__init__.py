"""Plots of fits and sweeps."""
