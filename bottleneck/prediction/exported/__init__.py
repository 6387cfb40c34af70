"""Exported files: what they say of themselves, and images classified by them without PyTorch."""
