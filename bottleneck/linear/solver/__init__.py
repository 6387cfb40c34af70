"""Minimise the objective of a linear classifier for every C, on NumPy's or PyTorch's arrays."""
