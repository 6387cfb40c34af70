"""Linear classifiers on codes."""
