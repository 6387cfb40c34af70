"""Which classifier: folds, the choice of C and scaling by cross-validation, and its cost."""
