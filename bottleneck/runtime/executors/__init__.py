"""Executors: call a function for many items, in processes of this machine or on Dask."""
