"""How far a verb has come, which it tells while it runs."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Progress:
    """How far one stage of a verb has come; a longer verb has several.

    Attributes
    ----------
    done, total : int
        How many are done, and how many there are, or may be.
    unit : str
        What is counted, for example ``"images compared"``; it differs from stage to stage.

    Examples
    --------
    >>> print(Progress(12, 896, "images compared"))
    12 of 896 images compared
    """

    done: int
    total: int
    unit: str

    @property
    def limited_by(self) -> str | None:
        """The stage that limits the rate; None if it is unknown."""
        return None

    def __str__(self) -> str:
        """Format the count in words."""
        return f"{self.done} of {self.total} {self.unit}"


OnProgress = Callable[[Progress], None]


def ignore_progress(progress: Progress) -> None:
    """Show nothing: the `on_progress` of a verb unless one is given."""
