"""Result of an audit: what was found, as text, as plain values, and as a CSV of images."""

import csv
import io
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bottleneck.auditing.duplicates import ImageGroup
from bottleneck.auditing.label_suspects import LabelSuspect
from bottleneck.auditing.near_duplicates import LEAST_IMAGES, NearPairs
from bottleneck.auditing.outliers import Outlier
from bottleneck.data import LabelSummary, SourceSummary
from bottleneck.fitting import Score
from bottleneck.runtime import (
    PreformattedText,
    escape_unprintable,
    format_count,
    format_duration,
    format_table,
    write_text_atomic,
)

_MOST = 10  # lines of a section in the text; all are in the CSV and the plain values
_COLUMNS = ("finding", "set", "path", "split", "label", "suggested", "score")


@dataclass(frozen=True)
class Examined:
    """What an audit looked at.

    Attributes
    ----------
    cache : str
        Path of the cache.
    images : SourceSummary
        Images with codes.
    layers : tuple of str
    size : int
        Number of values in the codes of an image.
    without_codes : int
        Images that have no codes, and were not examined.
    averaged : bool
        Whether these are averages over the positions of unpooled codes.
    """

    cache: str
    images: SourceSummary
    layers: tuple[str, ...]
    size: int
    without_codes: int = 0
    averaged: bool = False

    def __str__(self) -> str:
        without = f"; {self.without_codes} without codes" if self.without_codes else ""
        values = f"{self.size} values{', averaged over positions' if self.averaged else ''}"
        return (
            f"examined: {self.images}{without}\n"
            f"by their codes at {', '.join(self.layers)} ({values}), in {self.cache}"
        )


@dataclass(frozen=True)
class LabelCheck:
    """What an audit found of the labels.

    Attributes
    ----------
    examined : int
        Images whose labels were examined.
    suspects : list of LabelSuspect
        The most certain first.
    score, without_leaks : ClassificationScore, MultilabelScore or None
        Of a softmax head on the held-out split, and on it without the leaks; None without a split,
        and without an image that is no leak.
    reason : str
        Why no label was examined; empty if they were.
    remark : str
        How they were examined in another way than usual; empty if not.
    """

    examined: int
    suspects: list[LabelSuspect]
    score: Score | None
    without_leaks: Score | None
    reason: str = ""
    remark: str = ""


@dataclass(frozen=True, eq=False)
class AuditResult(PreformattedText):
    """Result of `bottleneck.audit`. Printed, it is the text that ``bottleneck audit`` prints.

    Attributes
    ----------
    examined : Examined
    duplicates : list of ImageGroup
        Images with the same bytes.
    near : list of ImageGroup
        Images that nearly show the same. Of those with the same bytes only the first is compared.
    near_pairs : NearPairs
        The pairs that hold the groups of `near` together, by number of the picture.
    leaked : list of str
        Paths of images of other splits that show the same as one in ``train``.
    shared_groups : int
        Images of other splits whose group ``train`` has too.
    labels : LabelCheck
    outliers : list of Outlier
        The farthest first.
    seconds : float
        Elapsed time.
    summary : LabelSummary or None
        What was understood of the CSV of labels; None for the cache's own.

    Examples
    --------
    >>> import bottleneck as bn  # doctest: +SKIP
    >>> found = bn.audit("photos.cache")  # doctest: +SKIP
    >>> found.leaks, [(one.path, one.suggested) for one in found.suspects]  # doctest: +SKIP
    (0, [('ants/7.jpg', 'bees')])
    """

    examined: Examined
    duplicates: list[ImageGroup]
    near: list[ImageGroup]
    near_pairs: NearPairs
    leaked: list[str]
    shared_groups: int
    labels: LabelCheck
    outliers: list[Outlier]
    seconds: float
    summary: LabelSummary | None = None

    def __repr__(self) -> str:
        """Return a short description."""
        counts = f"{len(self.duplicates)} duplicates, {len(self.near)} near duplicates"
        counts += f", {self.leaks} leaks, {len(self.suspects)} label suspects"
        return f"<AuditResult of {self.examined.cache}: {counts}>"

    @property
    def leaks(self) -> int:
        """Number of images of other splits that show the same as one in ``train``."""
        return len(self.leaked)

    @property
    def suspects(self) -> list[LabelSuspect]:
        """Images whose label is probably wrong, the most certain first."""
        return self.labels.suspects

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, as ``audit`` prints them as JSON."""
        score, clean = self.labels.score, self.labels.without_leaks
        return {
            "cache": self.examined.cache,
            "images": self.examined.images.images,
            "layers": list(self.examined.layers),
            "duplicates": [group.to_dict() for group in self.duplicates],
            "near": [group.to_dict() for group in self.near],
            "pairs": len(self.near_pairs.first),
            "images_by_chance": self.near_pairs.chance,
            "leaks": self.leaks,
            "leaked": self.leaked,
            "shared_groups": self.shared_groups,
            "heldout": score.to_dict() if score else None,
            "heldout_without_leaks": clean.to_dict() if clean else None,
            "labels_examined": self.labels.examined,
            "labels_remark": self.labels.remark or self.labels.reason,
            "suspects": [suspect.to_dict() for suspect in self.suspects],
            "outliers": [outlier.to_dict() for outlier in self.outliers],
            "seconds": self.seconds,
        }

    def to_csv(self, path: str | os.PathLike[str]) -> None:
        """Write one row for each image of each finding, whole or not at all.

        Parameters
        ----------
        path : str or PathLike
            ``finding`` is ``duplicate``, ``near``, ``leak``, ``suspect`` or ``outlier``; ``set``
            numbers the groups of the first two. ``score`` is that of suspects and outliers.
        """
        out = io.StringIO()
        writer = csv.writer(out)
        writer.writerow(_COLUMNS)
        writer.writerows(self._rows())
        write_text_atomic(Path(path), out.getvalue())

    def _rows(self) -> Iterator[Sequence[object]]:
        known: dict[str, tuple[str, str]] = {}  # of images in sets, as every leak is
        for finding, groups in (("duplicate", self.duplicates), ("near", self.near)):
            for number, group in enumerate(groups):
                for path, split, label in zip(group.paths, group.splits, group.labels, strict=True):
                    known[path] = split, label
                    yield finding, number, path, split, label, "", ""
        for path in self.leaked:
            yield "leak", "", path, *known[path], "", ""
        for one in self.suspects:
            found = (one.path, one.split, one.label, one.suggested, f"{one.score:.3f}")
            yield "suspect", "", *found
        for far in self.outliers:
            yield "outlier", "", far.path, far.split, far.label, "", f"{far.score:.3f}"

    def __str__(self) -> str:
        """Format the labels and everything else."""
        labels = f"{self.summary}\n\n" if self.summary else ""
        return labels + self.format()

    def format(self) -> str:
        """Format what was examined and, in short sections, what was found; without the labels."""
        sections = [
            [str(self.examined)],
            self._same_bytes(),
            self._near(),
            self._leaks(),
            self._suspects(),
            self._outliers(),
            [f"for review: nothing was removed or changed ({format_duration(self.seconds)})"],
        ]
        return "\n\n".join("\n".join(lines) for lines in sections if lines)

    def _same_bytes(self) -> list[str]:
        if not self.duplicates:
            return ["same bytes: none"]
        return [f"same bytes: {_counted(self.duplicates)}", *_listed(self.duplicates)]

    def _near(self) -> list[str]:
        copies = sum(len(group.paths) - 1 for group in self.duplicates)  # which are not compared
        if self.examined.images.images - copies < LEAST_IMAGES:
            few = f"fewer than {LEAST_IMAGES} images of different bytes"
            return [f"near duplicates: not looked for among {few}"]
        if not self.near:
            return ["near duplicates: none"]
        pairs = self.near_pairs
        found = format_count(len(pairs.first), "pair")
        return [
            f"near duplicates: {_counted(self.near)}",
            f"found by {found}; chance would bring up to {_count(pairs.chance)} "
            "of the images near another",
            *_listed(self.near),
        ]

    def _leaks(self) -> list[str]:
        splits = [name for name in self.examined.images.splits if name not in ("", "train")]
        if not splits or "train" not in self.examined.images.splits:
            return []
        others = sum(self.examined.images.splits[name] for name in splits)
        named = ", ".join(splits)
        lines = [f"leaks: {self.leaks} of {others} images of {named} are in train too"]
        if self.shared_groups:
            shared = f"{self.shared_groups} of {others} images of {named}"
            lines.append(f"groups: {shared} are of a group that train has too")
        score, clean = self.labels.score, self.labels.without_leaks
        if score is not None and not self.leaks:
            lines.append(f"softmax on {score.split}: {_short(score)}")
        elif score is not None:
            without = _short(clean) if clean else "no image is left"
            lines.append(f"softmax on {score.split}: {_short(score)}; without the leaks {without}")
        return lines

    def _suspects(self) -> list[str]:
        if self.labels.reason:
            return [f"labels: not examined: {self.labels.reason}"]
        count = len(self.suspects)
        share = count / self.labels.examined
        head = f"suspect labels: {count} of {self.labels.examined} ({share:.1%})"
        rows = [
            [*map(escape_unprintable, (one.path, one.label, one.suggested)), f"{one.score:.2f}"]
            for one in self.suspects[:_MOST]
        ]
        remarks = [self.labels.remark] if self.labels.remark else []
        return [head, *remarks, *_table(["image", "label", "rather", "margin"], rows, count)]

    def _outliers(self) -> list[str]:
        count = len(self.outliers)
        rows = [[escape_unprintable(one.path), f"{one.score:.2f}"] for one in self.outliers[:_MOST]]
        head = f"outliers: {count or 'none'}"
        return [head, *_table(["image", "times the usual distance"], rows, count)]


def _counted(groups: Sequence[ImageGroup]) -> str:
    """Count images and sets of them, and the sets across splits, labels and the images' groups."""
    images = sum(len(group.paths) for group in groups)
    splits = sum(group.across_splits for group in groups)
    labels = sum(group.across_labels for group in groups)
    sets = format_count(len(groups), "set")
    found = f"{images} images in {sets}; {splits} across splits, {labels} across labels"
    if not any(any(group.groups) for group in groups):
        return found
    return f"{found}, {sum(group.across_groups for group in groups)} across groups"


def _count(expected: float) -> str:
    return f"{expected:.2g}" if expected < 10 else f"{expected:.0f}"


def _listed(groups: Sequence[ImageGroup]) -> list[str]:
    """Name of the first groups a pair that shows it, with what differs."""
    rows = []
    for group in groups[:_MOST]:
        pair, size = map(escape_unprintable, group.pair), str(len(group.paths))
        rows.append([*pair, size, " ".join(group.across), f"{group.distance:.2f}"])
    return _table(["image", "shows the same", "in all", "across", "distance"], rows, len(groups))


def _table(header: Sequence[str], rows: Sequence[Sequence[str]], count: int) -> list[str]:
    if not rows:
        return []
    more = [f"… and {count - len(rows)} more"] if count > len(rows) else []
    return [format_table(header, rows), *more]


def _short(score: Score) -> str:
    return f"{score.accuracy_text} ({score.interval_text})"
