"""Result of a sweep: one row for each layer and classifier, the best and the recommended row."""

import csv
import html
import io
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from os import PathLike
from pathlib import Path
from typing import Any, overload

from bottleneck.data import LabelSummary
from bottleneck.fitting.metrics import format_metric
from bottleneck.fitting.scores import Score
from bottleneck.fitting.search_result import Candidate
from bottleneck.reporting import plot_sweep, sweep_figure
from bottleneck.runtime import escape_unprintable, format_table


@dataclass(frozen=True)
class SweepRow:
    """Cross-validated result of one classifier on one layer.

    It holds no coefficients: those of many layers need not fit into memory together.

    Attributes
    ----------
    layer : str
        Layer of the cache.
    clf : str
        ``"svm"`` or ``"softmax"``.
    size : int
        Number of values of a code.
    cost : float or None
        Share of the network's multiply-adds up to the layer; None where the cache has no record.
    cv : Candidate
        Cross-validation of the selected C and scaling.
    metric : str
        Name of the metric in `cv`.
    heldout : ClassificationScore, MultilabelScore or None
        Score on the held-out split, which takes no part in the recommendation.
    majority_baseline : float or None
        Metric of always predicting the most frequent class; None for several labels an image.
    converged : bool
        Whether the final training met its tolerance for every class.
    seconds : float
        Training time, without reading the codes.
    record : dict
        `FitResult.to_dict` of this row.
    """

    layer: str
    clf: str
    size: int
    cost: float | None
    cv: Candidate
    metric: str
    heldout: Score | None
    majority_baseline: float | None
    converged: bool
    seconds: float
    record: dict[str, Any]

    @property
    def heldout_metric(self) -> float | None:
        """The metric on the held-out split; None without one."""
        return None if self.heldout is None else self.heldout.metric(self.metric)

    def __str__(self) -> str:
        """Name the classifier and the layer."""
        return f"{self.clf} on {escape_unprintable(self.layer)}"


class SweepResult(Sequence[SweepRow]):
    """Rows of a sweep, ordered by the share of the network that their layer needs.

    Printed, it is a table of all rows with a sentence about the recommended one. Notebooks show
    the same text.

    Parameters
    ----------
    rows : iterable of SweepRow
        At least one, all of the same metric.
    labels : LabelSummary, optional
        What was understood of the CSV of labels.

    Examples
    --------
    >>> def row(layer, cost, *scores):
    ...     cv = Candidate("standardize", 1.0, scores, 0.0, True)
    ...     return SweepRow(layer, "svm", 8, cost, cv, "accuracy", None, 0.5, True, 0.1, {})
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
    """

    def __init__(self, rows: Iterable[SweepRow], *, labels: LabelSummary | None = None) -> None:
        self._rows = tuple(rows)
        self.labels = labels

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
        return max(self._rows, key=lambda row: (row.cv.mean, -row.cv.standard_error))

    @cached_property
    def recommended(self) -> SweepRow:
        """The cheapest row whose mean is within one standard error of the best row's mean.

        Cheapest means the smallest share of the network, where it is known; of equal shares the
        smaller code, then the higher mean, then the first row. The held-out split is not used.
        """
        # The one-standard-error rule of L. Breiman et al., "Classification and regression trees"
        # (1984), section 3.4.3, applied to layers.
        threshold = self.best.cv.mean - self.best.cv.standard_error
        return min(
            (row for row in self._rows if row.cv.mean >= threshold),
            key=lambda row: (cost_or_infinity(row.cost), row.size, -row.cv.mean),
        )

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
        if path is None:
            return sweep_figure(self)
        plot_sweep(Path(path), self)
        return None

    def to_list(self) -> list[dict[str, Any]]:
        """Return the rows as ``sweep`` prints them as JSON."""
        return [
            row.record
            | {"size": row.size, "work": row.cost, "recommended": row is self.recommended}
            for row in self._rows
        ]

    def to_csv(self) -> str:
        """Return the rows as CSV with all digits; unknown values are empty."""
        header = ["layer", "clf", "size", "work", "preprocess", "c", "metric", "folds", "mean"]
        header += ["std", "standard_error", "heldout", "seconds", "recommended"]
        lines: list[list[object]] = [[*header]]
        for row in self._rows:
            cv = row.cv
            search = [cv.scaling, cv.c, row.metric, len(cv.scores), cv.mean, cv.std]
            result = [cv.standard_error, row.heldout_metric, row.seconds, row is self.recommended]
            lines.append([row.layer, row.clf, row.size, row.cost, *search, *result])
        out = io.StringIO()
        csv.writer(out).writerows(lines)
        return out.getvalue()

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
        remarks = chosen.heldout.remarks if chosen.heldout else []
        return "\n".join([f"{self._table()}\n\n{chosen} {reason}: `{command}`", *remarks])

    def __str__(self) -> str:
        """Format the labels, the table and the recommendation."""
        row = self.recommended
        labels = f"{self.labels}\n\n" if self.labels else ""
        call = f"bottleneck.fit(cache, {row.clf!r}, layers={row.layer!r})"
        return labels + self.format(call)

    def __repr__(self) -> str:
        """Return a short description."""
        return f"<SweepResult of {len(self)} rows, recommended: {self.recommended}>"

    def _repr_html_(self) -> str:
        return f"<pre>{html.escape(str(self))}</pre>"

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
