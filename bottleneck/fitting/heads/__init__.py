"""A head: classifiers on codes, their file, and how they judge images."""
