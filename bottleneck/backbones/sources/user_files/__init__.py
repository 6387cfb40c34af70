"""The files of a user's own that a Python file imports: which they are, and their import."""
