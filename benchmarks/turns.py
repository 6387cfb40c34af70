"""Taking turns: things that are compared are measured one after another, again and again."""

import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

Name = TypeVar("Name")
Found = TypeVar("Found")


def in_turns(things: Mapping[Name, Callable[[], Found]], turns: int) -> dict[Name, list[Found]]:
    """What each thing gives in each turn; every second turn goes backwards.

    So a machine that slows down, or speeds up, does so for all of them.
    """
    found: dict[Name, list[Found]] = {name: [] for name in things}
    for turn in range(turns):
        names = list(things) if turn % 2 == 0 else list(things)[::-1]
        for name in names:
            found[name].append(things[name]())
    return found


def ratio(over: Sequence[float], under: Sequence[float]) -> float:
    """The median of the ratios of pairs, each of one turn."""
    return statistics.median(a / b for a, b in zip(over, under, strict=True))


def median(values: Sequence[float]) -> float:
    """The median of some turns."""
    return statistics.median(values)
