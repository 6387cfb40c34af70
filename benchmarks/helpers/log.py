"""Print results as soon as they are known: a benchmark takes minutes and may be interrupted."""

import sys


def log_row(row: str) -> str:
    """Print a row of a table to standard error and return it."""
    print(row, file=sys.stderr, flush=True)
    return row
