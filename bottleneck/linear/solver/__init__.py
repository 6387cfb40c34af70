"""Minimise the objective of a linear classifier for every C, on any array library."""
