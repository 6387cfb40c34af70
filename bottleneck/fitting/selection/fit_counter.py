"""Count the classifiers that are trained, of as many as there may be."""

from collections.abc import Sequence

from bottleneck.runtime import OnProgress, Progress


class FitCounter:
    """Reports how many classifiers of one or several searches are trained, weighted by their work.

    The work of a classifier is about the product of its rows and the length of its codes. Weights
    are those of searches with the same rows or the same codes. Sums of them must be exact, as those
    of integers and of halves, quarters and eighths are.

    Parameters
    ----------
    most : int
        Classifiers that each search may train. It often trains fewer.
    on_progress : callable
        Called with the `Progress` at once, and after each change.
    weights : sequence of float
        Of a classifier of each search; there is one search by default.
    unit : str
        What is counted.

    Examples
    --------
    >>> fits = FitCounter(3, print, weights=[1, 5])
    0 of 6 fits at most
    >>> fits.add(1)
    1 of 6 fits at most
    >>> fits.finish(1)
    1 of 6 fits at most
    >>> fits.finish(5)
    6 of 6 fits at most
    """

    def __init__(
        self,
        most: int,
        on_progress: OnProgress,
        *,
        weights: Sequence[float] = (1,),
        unit: str = "fits at most",
    ) -> None:
        self._most, self._on_progress, self._unit = most, on_progress, unit
        self._total, self._work = most * len(weights), most * sum(weights)
        self._finished = self._begun = 0.0  # work of whole searches, and of the present one
        self._report()

    def add(self, weight: float = 1) -> None:
        """Count one more classifier of the present search."""
        self._begun += weight
        self._report()

    def finish(self, weight: float = 1) -> None:
        """Count all classifiers of the present search."""
        self._finished += self._most * weight
        self._begun = 0.0
        self._report()

    def _report(self) -> None:
        done = self._total * (self._finished + self._begun)
        # Rounded up, as 0 done says that the stage begins.
        self._on_progress(Progress(int(-(-done // self._work)), self._total, self._unit))
