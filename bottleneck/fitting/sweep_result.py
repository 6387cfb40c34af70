"""Result of a sweep: its rows, the best and the recommended one."""

import csv
import io
import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import cached_property
from os import PathLike
from pathlib import Path
from typing import Any, overload

from bottleneck.data import LabelSummary
from bottleneck.fitting.plotting.picture import output_figure
from bottleneck.fitting.plotting.sweep_plot import sweep_figure
from bottleneck.fitting.scoring.judged_split import format_no_heldout
from bottleneck.fitting.scoring.metrics import format_metric
from bottleneck.fitting.selection.folds import fewer_folds
from bottleneck.fitting.selection.nested import NestedScore
from bottleneck.fitting.sweep_row import SweepRow
from bottleneck.runtime import PreformattedText, escape_unprintable, format_table, write_text_atomic


class SweepResult(Sequence[SweepRow], PreformattedText):
    """Rows of a sweep, ordered by the share of the network that their layer needs.

    Printed, it is a table of all rows with a sentence about the recommended one. Notebooks show
    the same text.

    Parameters
    ----------
    rows : iterable of SweepRow
        At least one, all of the same metric.
    labels : LabelSummary, optional
        What was understood of the CSV of labels.
    left_out : int
        Number of labelled images that have codes at some of the layers alone, and that a nested
        cross-validation leaves out.
    has_views : bool
        Whether the cache has other views than the plain one, so that `bottleneck.fit` must be told
        how many to use.
    cv : int
        Folds that were asked for.

    Examples
    --------
    >>> from bottleneck.fitting import Candidate, Features
    >>> def row(layer, cost, *scores):
    ...     cv, features = Candidate("sqrt", 1.0, scores, 0.0, True), Features((layer,))
    ...     result = (cv, "accuracy", None, 0.5, True, 0.1, {})
    ...     return SweepRow(features, "svm", 8, cost, *result)
    >>> sweep = SweepResult([row("layer3", 0.6, 0.88, 0.90), row("layer4", 1.0, 0.86, 0.94)])
    >>> sweep.best.layer, sweep.recommended.layer
    ('layer4', 'layer3')
    >>> print(sweep)
    layer   network  code  clf  CV accuracy  ± std  seconds
    layer3    60.0%     8  svm        89.0%   1.0%      0.1  *
    layer4   100.0%     8  svm        90.0%   4.0%      0.1
    <BLANKLINE>
    svm on layer3 is the cheapest within one standard error (4.0%) of the best, svm on layer4: \
`bottleneck.fit(cache, 'svm', layers='layer3')`
    no held-out split: the best of 2 rows looks better than it is; nested cross-validation \
(`nested`) says by how much
    """

    def __init__(
        self,
        rows: Iterable[SweepRow],
        *,
        labels: LabelSummary | None = None,
        left_out: int = 0,
        has_views: bool = False,
        cv: int = 0,
    ) -> None:
        self._rows = tuple(rows)
        self.labels = labels
        self.left_out = left_out
        self.has_views = has_views
        self.cv = cv

    @overload
    def __getitem__(self, index: int) -> SweepRow: ...

    @overload
    def __getitem__(self, index: slice) -> tuple[SweepRow, ...]: ...

    def __getitem__(self, index: int | slice) -> SweepRow | tuple[SweepRow, ...]:
        """Return one row, or a tuple of rows."""
        return self._rows[index]

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self._rows)

    @cached_property
    def best(self) -> SweepRow:
        """The row with the highest mean; of equal means the one with the smaller standard error."""
        return max(self._rows, key=lambda row: (row.cv.rounded_mean, -row.cv.standard_error))

    @cached_property
    def recommended(self) -> SweepRow:
        """The cheapest row whose mean is within one standard error of the best row's mean.

        Cheapest means the smallest share of the network, where it is known; of equal shares the
        smaller code, then the higher mean, then the first row. The held-out split is not used.
        """
        # The one-standard-error rule of L. Breiman et al., "Classification and regression trees"
        # (1984), section 3.4.3, applied to layers.
        return min(
            (row for row in self._rows if row.cv.rounded_mean >= self.best.cv.threshold),
            key=lambda row: (cost_or_infinity(row.cost), row.size, -row.cv.rounded_mean),
        )

    @cached_property
    def nested(self) -> NestedScore | None:
        """Score of the recommendation, by the rule of `recommended` within the other folds.

        None without nested cross-validation.
        """
        folds = range(min(len(row.outer) for row in self._rows))
        if not folds:
            return None
        chosen = [self._without_fold(fold).recommended for fold in folds]
        return NestedScore(
            metric=self.recommended.metric,
            selected=self.recommended.cv.mean,
            scores=tuple(row.outer[fold].score for fold, row in zip(folds, chosen, strict=True)),
            choices=tuple(map(str, chosen)),
            alternatives=f"{len(self)} rows" if len(self) > 1 else "values of C",
        )

    def _without_fold(self, fold: int) -> "SweepResult":
        return SweepResult(replace(row, cv=row.outer[fold].cv) for row in self._rows)

    def plot(self, path: str | PathLike[str] | None = None) -> Any:
        """Plot accuracy against the share of the network that each layer needs.

        Parameters
        ----------
        path : str or PathLike, optional
            Output file, ``.svg``, ``.png`` or ``.pdf``. Without it the figure is returned.

        Returns
        -------
        matplotlib.figure.Figure or None
            None where a file was written.

        Raises
        ------
        InvalidOptionError
            The file name has another suffix.
        """
        figure = sweep_figure(self, best=self.best, recommended=self.recommended)
        return output_figure(figure, path)

    def to_list(self) -> list[dict[str, Any]]:
        """Return the rows as ``sweep`` prints them as JSON, without confusion matrices.

        After nested cross-validation the recommended row has the score of the recommendation under
        ``choice``.
        """
        choice = {"choice": self.nested.to_dict()} if self.nested else {}
        return [
            row.record
            | {"layer": row.layer, "size": row.size, "work": row.cost}
            | {"recommended": row is self.recommended}
            | (choice if row is self.recommended else {})
            for row in self._rows
        ]

    @overload
    def to_csv(self, path: None = None) -> str: ...
    @overload
    def to_csv(self, path: str | PathLike[str]) -> None: ...
    def to_csv(self, path: str | PathLike[str] | None = None) -> str | None:
        """Write the rows as CSV with all digits, whole or not at all; unknown values are empty.

        Parameters
        ----------
        path : str or PathLike, optional
            Output file. Without it the text is returned.
        """
        header = ["layer", "clf", "size", "work", "preprocess", "c", "metric", "folds", "mean"]
        header += ["std", "standard_error", "nested", "heldout", "seconds", "recommended"]
        lines: list[list[object]] = [[*header]]
        for row in self._rows:
            cv = row.cv
            search = [cv.scaling, cv.c, row.metric, len(cv.scores), cv.mean, cv.std]
            result = [cv.standard_error, row.nested_metric, row.heldout_metric]
            end = [row.seconds, row is self.recommended]
            lines.append([row.layer, row.clf, row.size, row.cost, *search, *result, *end])
        out = io.StringIO()
        csv.writer(out).writerows(lines)
        if path is None:
            return out.getvalue()
        write_text_atomic(Path(path), out.getvalue())
        return None

    def format(self, command: str) -> str:
        """Format the table, the sentence that recommends a row, and what was not judged.

        Parameters
        ----------
        command : str
            The command or call that trains the recommended row.
        """
        chosen, best = self.recommended, self.best
        unknown = chosen.cost is None
        near = f"within one standard error ({best.cv.standard_error:.1%}) of"
        if chosen is best:
            cheaper = "with smaller codes" if unknown else "cheaper"
            reason = f"is the best, and nothing {cheaper} is {near} it"
        else:
            cheapest = "has the smallest codes" if unknown else "is the cheapest"
            reason = f"{cheapest} {near} the best, {best}"
        if unknown:
            reason += " (the cache does not say how much of the network its layers need)"
        return "\n".join([f"{self._table()}\n\n{chosen} {reason}: `{command}`", *self._remarks()])

    def _remarks(self) -> list[str]:
        """Return the lines on the optimism of the choice, and on images that were not judged."""
        heldout = self.recommended.heldout
        lines = fewer_folds(min(len(row.cv.scores) for row in self), self.cv)
        if self.nested:
            lines.append(str(self.nested))
            if heldout:
                lines.append(f"the held-out split {heldout.split} took no part in any choice")
        elif heldout is None and len(self) > 1:
            none = format_no_heldout(self.recommended.record.get("no_heldout", ""))
            lines.append(
                f"{none}: the best of {len(self)} rows looks better than it is; nested "
                "cross-validation (`nested`) says by how much"
            )
        if self.left_out:
            lines.append(f"left out: {self.left_out} images without codes at some of the layers")
        return lines + (heldout.remarks if heldout else [])

    def __str__(self) -> str:
        """Format the labels, the table and the recommendation."""
        row = self.recommended
        layers = list(row.layers)
        named = layers if len(layers) > 1 else layers[0]
        views = f", views={row.views}" if self.has_views else ""
        labels = f"{self.labels}\n\n" if self.labels else ""
        return labels + self.format(f"bottleneck.fit(cache, {row.clf!r}, layers={named!r}{views})")

    def __repr__(self) -> str:
        """Return a short description."""
        return f"<SweepResult of {len(self)} rows, recommended: {self.recommended}>"

    def _table(self) -> str:
        rows, chosen = self._rows, self.recommended
        metric = format_metric(chosen.metric)
        columns = {
            "layer": [escape_unprintable(row.layer) for row in rows],
            "network": ["-" if row.cost is None else f"{row.cost:.1%}" for row in rows],
            "code": [str(row.size) for row in rows],
            "clf": [row.clf for row in rows],
        }
        if len({row.cv.scaling for row in rows}) > 1:
            columns["preprocess"] = [row.cv.scaling for row in rows]
        columns[f"CV {metric}"] = [f"{row.cv.mean:.1%}" for row in rows]
        columns["± std"] = [f"{row.cv.std:.1%}" for row in rows]
        if self.nested:
            columns["nested"] = [f"{row.nested_metric:.1%}" for row in rows]
        if chosen.heldout:
            columns[f"{chosen.heldout.split} {metric}"] = [
                f"{row.heldout_metric:.1%}" for row in rows
            ]
        columns["seconds"] = [f"{row.seconds:.1f}" for row in rows]
        columns[""] = [
            ("*" if row is chosen else "") + ("" if row.converged else " not converged")
            for row in rows
        ]
        return format_table(list(columns), zip(*columns.values(), strict=True))


def cost_or_infinity(cost: float | None) -> float:
    """Return a cost to sort by: unknown ones come last.

    Examples
    --------
    >>> sorted([0.5, None, 0.1], key=cost_or_infinity)
    [0.1, 0.5, None]
    """
    return math.inf if cost is None else cost
