"""Measure things that are compared in interleaved rounds."""

import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

Name = TypeVar("Name")
Result = TypeVar("Result")


def interleave(
    functions: Mapping[Name, Callable[[], Result]], rounds: int
) -> dict[Name, list[Result]]:
    """Call each function once in each round, in reverse order in every second round.

    A machine that slows down or speeds up meanwhile affects all of them alike.

    Parameters
    ----------
    functions : mapping
        By name.
    rounds : int

    Returns
    -------
    dict
        The results of each function, by name, in the order of the rounds.
    """
    results: dict[Name, list[Result]] = {name: [] for name in functions}
    for i in range(rounds):
        names = list(functions) if i % 2 == 0 else list(functions)[::-1]
        for name in names:
            results[name].append(functions[name]())
    return results


def ratio(over: Sequence[float], under: Sequence[float]) -> float:
    """Return the median of the ratios of pairs, each of one round."""
    return statistics.median(a / b for a, b in zip(over, under, strict=True))


def median(values: Sequence[float]) -> float:
    """Return the median over rounds."""
    return statistics.median(values)
