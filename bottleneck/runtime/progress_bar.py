"""A progress bar for Python: in a notebook or on a terminal."""

from typing import TYPE_CHECKING

from bottleneck.runtime.progress import Progress

if TYPE_CHECKING:
    from tqdm import tqdm


class ProgressBar:
    """Shows how far a verb has come: the `on_progress` of any of them.

    tqdm draws it: in a notebook with ipywidgets as a widget, elsewhere as text on standard error. A
    new bar begins with each stage of the work, such as each training of a tuned tail.

    Parameters
    ----------
    description : str
        What is written before the bar.

    Examples
    --------
    >>> import bottleneck as bn  # doctest: +SKIP
    >>> sweep = bn.sweep("photos.cache", on_progress=bn.ProgressBar("sweep"))  # doctest: +SKIP
    sweep:  50%|█████     | 86/172 [00:03<00:03,  28.7 fits at most/s]
    """

    def __init__(self, description: str = "") -> None:
        self._description = description
        self._bar: tqdm | None = None
        self._stage = ("", 0)

    def __call__(self, progress: Progress) -> None:
        """Show how far a verb has come.

        Parameters
        ----------
        progress : Progress
            Of the stage that is under way.
        """
        done, stage = progress.done, (progress.unit, progress.total)
        if self._bar is not None and (stage != self._stage or done < self._bar.n):
            self._end()
        if self._bar is None:
            from tqdm.auto import tqdm

            self._stage = stage
            self._bar = tqdm(
                total=progress.total,
                initial=done,
                desc=self._description or None,
                unit=f" {progress.unit}",
            )
        self._bar.update(done - self._bar.n)
        if done == progress.total:
            self._end()

    def _end(self) -> None:
        if self._bar is not None:
            self._bar.close()
        self._bar = None
