"""Result of a report: where the page is, and what it holds."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bottleneck.fitting import ClassificationScore
from bottleneck.runtime import PreformattedText, format_size


@dataclass(frozen=True)
class ReportResult(PreformattedText):
    """Result of `bottleneck.report`. Printed, it is the text that ``bottleneck report`` prints.

    Attributes
    ----------
    path : Path
        The page.
    bytes : int
        Its size.
    score : ClassificationScore
        Of the images that it is about.
    verdict : str
        Its first sentence.
    thumbnails : str
        Which pictures are in it, in a sentence.
    shown, wanted : int
        Pictures that are in it, and those that would be without a limit.
    unreadable : dict of str to str
        Images that could not be read any more, by path, and why.
    seconds : float
        Elapsed time.

    Examples
    --------
    >>> import bottleneck as bn  # doctest: +SKIP
    >>> page = bn.report("photos.cache", "head.safetensors", "page.html")  # doctest: +SKIP
    >>> page.path, page.score.accuracy  # doctest: +SKIP
    (PosixPath('page.html'), 0.93)
    """

    path: Path
    bytes: int
    score: ClassificationScore
    verdict: str
    thumbnails: str
    shown: int
    wanted: int
    unreadable: dict[str, str]
    seconds: float

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, as ``report`` prints them as JSON."""
        return {
            "report": str(self.path),
            "bytes": self.bytes,
            "score": self.score.to_dict(),
            "verdict": self.verdict,
            "thumbnails": {
                "shown": self.shown,
                "wanted": self.wanted,
                "unreadable": self.unreadable,
            },
            "seconds": self.seconds,
        }

    def __str__(self) -> str:
        """Say where the page is, its verdict, and which pictures are in it."""
        return (
            f"{self.verdict}\n{self.thumbnails}\n"
            f"wrote {self.path}: {format_size(self.bytes)} ({self.seconds:.1f} s)"
        )
