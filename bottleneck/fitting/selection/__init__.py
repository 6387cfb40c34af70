"""The choice of C and scaling by cross-validation, and what the choice cost."""
