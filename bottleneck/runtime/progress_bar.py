"""A progress bar for Python: in a notebook or on a terminal."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from tqdm import tqdm


OnProgress = Callable[[int, int], None]  # called with how many are done, and of how many


class Counted(Protocol):
    """What the longer verbs report: they count images."""

    @property
    def counts(self) -> tuple[int, int]:
        """How many are done, and how many there may be."""
        ...


class ProgressBar:
    """Shows how far a verb has come: the `on_progress` of any of them.

    tqdm draws it: in a notebook with ipywidgets as a widget, elsewhere as text on standard error. A
    new bar begins where the work has several parts, such as the trainings of a tuned tail.

    Parameters
    ----------
    description : str
        What is written before the bar.

    Examples
    --------
    >>> import bottleneck as bn  # doctest: +SKIP
    >>> sweep = bn.sweep("photos.cache", on_progress=bn.ProgressBar("sweep"))  # doctest: +SKIP
    sweep:  50%|█████     | 8/16 [00:03<00:03,  2.51it/s]
    """

    def __init__(self, description: str = "") -> None:
        self._description = description
        self._bar: tqdm | None = None

    def __call__(self, progress: "int | Counted", total: int | None = None) -> None:
        """Show it.

        Parameters
        ----------
        progress : int or Counted
            How many are done; or an object that has `counts`.
        total : int, optional
            How many there are; needed with a number.
        """
        done, total = (progress, total) if isinstance(progress, int) else progress.counts
        if self._bar is not None and (total != self._bar.total or done < self._bar.n):
            self._end()
        if self._bar is None:
            from tqdm.auto import tqdm

            self._bar = tqdm(total=total, initial=done, desc=self._description or None)
        self._bar.update(done - self._bar.n)
        if done == total:
            self._end()

    def _end(self) -> None:
        if self._bar is not None:
            self._bar.close()
        self._bar = None
