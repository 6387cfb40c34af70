"""Results of classifiers: what `fit`, `sweep` and `evaluate` print."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from bottleneck.fitting.metrics import ClassificationScore, MultilabelScore
from bottleneck.runtime.formatting import escape_unprintable, format_table

if TYPE_CHECKING:  # `fit` prints without loading PyTorch
    from bottleneck.fitting.fit import FitResult
    from bottleneck.fitting.selection import SearchResult
    from bottleneck.fitting.sweep import SweepRow

_MOST_CLASSES = 12  # a larger confusion matrix is no longer read; its worst cells are


def fit_text(done: FitResult, saved: str) -> str:
    """The search, the choice, the judgement, and where the head is."""
    lines = []
    if done.selection:
        lines += [selection_text(done.selection), ""]
    head = done.head
    lines.append(
        f"{head.clf} on {head.layer}: {done.train} images of {len(head.classes)} classes, "
        f"codes of size {head.coef.shape[1]}, {head.preprocessing.name}, C = {done.c:.3g}"
    )
    if done.selection:
        best = done.selection.best
        lines.append(
            f"cross-validation  {_metric(done.selection.metric)} {best.mean:.1%} ± {best.std:.1%} "
            f"in {done.selection.folds} folds{_calibration_text(done.ece)}"
        )
        if done.selection.at_edge:
            lines.append("the best C is at the edge of the grid: a better one may lie beyond it")
    if not done.converged:
        gap = done.solution.gap.max()
        proved = f"within {gap:.1e} of its minimum" if np.isfinite(gap) else "short of its minimum"
        lines.append(f"the solver stopped {proved}: a smaller C converges sooner")
    if done.heldout:
        lines.append(score_text(done.heldout))
    else:
        lines.append("no held-out split: the cross-validation is all that can be said")
    lines.append(f"saved {saved} ({done.seconds:.1f} s)")
    return "\n".join(lines)


def selection_text(selection: SearchResult) -> str:
    """Every candidate with its folds' mean and deviation; an asterisk at the chosen one."""
    several = len({candidate.preprocess for candidate in selection.candidates}) > 1
    head = ["preprocess"] if several else []
    return format_table(
        [*head, "C", _metric(selection.metric), "± std", ""],
        (
            [
                *([candidate.preprocess] if several else []),
                f"{candidate.c:.3g}",
                f"{candidate.mean:.1%}",
                f"{candidate.std:.1%}",
                ("*" if candidate is selection.best else "")
                + ("" if candidate.converged else " not converged"),
            ]
            for candidate in selection.candidates
        ),
    )


def _metric(name: str) -> str:
    return name.replace("_", " ")


def _calibration_text(ece: float | None) -> str:
    return "" if ece is None else f", calibration error {ece:.1%}"


def sweep_text(rows: Sequence[SweepRow], *, best: SweepRow, chosen: SweepRow, command: str) -> str:
    """Every row, an asterisk at the chosen one; and in a sentence why, and what trains it.

    Parameters
    ----------
    rows : sequence of SweepRow
    best, chosen : SweepRow
        As `bottleneck.fitting.sweep.best_row` and `bottleneck.fitting.sweep.recommend` give them.
    command : str
        The whole `bottleneck fit`.
    """
    unknown = chosen.work is None
    less = "with smaller codes" if unknown else "cheaper"
    least = "has the smallest codes" if unknown else "is the cheapest"
    near = f"within one standard error ({best.cv.standard_error:.1%}) of"
    if chosen is best:
        why = f"is the best, and nothing {less} is {near} it"
    else:
        why = f"{least} {near} the best, {_row_name(best)}"
    caveat = " (the cache does not say how much of the network its layers need)" if unknown else ""
    return f"{_sweep_table(rows, chosen)}\n\n{_row_name(chosen)} {why}{caveat}: `{command}`"


def _sweep_table(rows: Sequence[SweepRow], chosen: SweepRow) -> str:
    metric = _metric(chosen.metric)
    columns = {
        "layer": [escape_unprintable(row.layer) for row in rows],
        "network": ["-" if row.work is None else f"{row.work:.1%}" for row in rows],
        "code": [str(row.size) for row in rows],
        "clf": [row.clf for row in rows],
    }
    if len({row.cv.preprocess for row in rows}) > 1:
        columns["preprocess"] = [row.cv.preprocess for row in rows]
    columns[f"CV {metric}"] = [f"{row.cv.mean:.1%}" for row in rows]
    columns["± std"] = [f"{row.cv.std:.1%}" for row in rows]
    if chosen.heldout:
        columns[f"{chosen.heldout.split} {metric}"] = [f"{row.measured:.1%}" for row in rows]
    columns["seconds"] = [f"{row.seconds:.1f}" for row in rows]
    columns[""] = [
        ("*" if row is chosen else "") + ("" if row.converged else " not converged") for row in rows
    ]
    return format_table(list(columns), zip(*columns.values(), strict=True))


def _row_name(row: SweepRow) -> str:
    return f"{row.clf} on {escape_unprintable(row.layer)}"


def sweep_json(rows: Sequence[SweepRow], chosen: SweepRow) -> list[dict[str, Any]]:
    """What ``sweep --json`` prints: for each row what `fit` says of it, and what it costs."""
    return [
        row.record | {"size": row.size, "work": row.work, "recommended": row is chosen}
        for row in rows
    ]


def sweep_csv(rows: Sequence[SweepRow], chosen: SweepRow) -> str:
    """The table with all digits, as ``sweep -o`` writes it; empty where nothing is known."""
    head = ["layer", "clf", "size", "work", "preprocess", "c", "metric", "folds", "mean", "std"]
    lines: list[list[object]] = [[*head, "standard_error", "heldout", "seconds", "recommended"]]
    for row in rows:
        cv = row.cv
        choice = [cv.preprocess, cv.c, row.metric, len(cv.scores), cv.mean, cv.std]
        found = [cv.standard_error, row.measured, row.seconds, row is chosen]
        lines.append([row.layer, row.clf, row.size, row.work, *choice, *found])
    out = io.StringIO()
    csv.writer(out).writerows(lines)
    return out.getvalue()


def score_text(found: ClassificationScore | MultilabelScore) -> str:
    """Accuracy with its interval, mean per class, and what is taken for what."""
    low, high = found.ci95
    name = f"held-out {found.split}" if found.split else "all images"
    exact = "all labels right" if isinstance(found, MultilabelScore) else ""
    return "\n".join(
        [
            f"{name}  {exact}{' for ' if exact else ''}{found.accuracy:.1%} of {found.n} "
            f"(95 % interval {low:.1%} to {high:.1%}), mean per class {found.mean_per_class:.1%}"
            f"{_calibration_text(found.ece)}",
            precision_text(found) if isinstance(found, MultilabelScore) else confusion_text(found),
        ]
    )


def precision_text(found: MultilabelScore) -> str:
    """Average precision of each label, and their mean."""
    rows = [
        [escape_unprintable(name), "-" if value is None else f"{value:.1%}"]
        for name, value in found.average_precision.items()
    ]
    return format_table(
        ["label", "average precision"], [*rows, ["mean", f"{found.mean_average_precision:.1%}"]]
    )


def confusion_text(found: ClassificationScore) -> str:
    """The confusion matrix, or its largest errors where it would be too large to read."""
    names = [escape_unprintable(name) for name in found.classes]
    if len(names) <= _MOST_CLASSES:
        return format_table(
            ["true \\ predicted", *names],
            (
                [name, *map(str, row)]
                for name, row in zip(names, found.confusion.tolist(), strict=True)
            ),
        )
    errors = [
        (count, true, predicted)
        for true, row in enumerate(found.confusion.tolist())
        for predicted, count in enumerate(row)
        if count and true != predicted
    ]
    worst = sorted(errors, key=lambda error: -error[0])[:_MOST_CLASSES]
    return format_table(
        ["most often confused", "taken for", "times"],
        ([names[true], names[predicted], str(count)] for count, true, predicted in worst),
    )
