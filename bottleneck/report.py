"""Reports: what the commands print, as text. Each function takes a result and returns lines."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # `status` and `fit` print without loading PyTorch
    from bottleneck.clock import Clock
    from bottleneck.extract import Extraction
    from bottleneck.fit import Fit
    from bottleneck.layers import Layer
    from bottleneck.metrics import Score
    from bottleneck.predict import Prediction
    from bottleneck.selection import Selection
    from bottleneck.store import Cache, LayerStatus
    from bottleneck.verify import Bad

_STAGES = ("read", "decode", "forward", "write")
_MOST_CLASSES = 12  # a larger confusion matrix is no longer read; its worst cells are
_MOST_REJECTED = 10


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Columns under a header: the first to the left, the others to the right."""
    lines = [list(header), *(list(row) for row in rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(header))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if i == 0 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )


def size(count: float) -> str:
    """Bytes as people read them, in powers of 1000."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.3g} {unit}" if unit != "B" else f"{count:.0f} B"
        count /= 1000
    return f"{count:.3g} TB"


# layers


def layers_json(layers: Sequence[Layer], *, pool: str, itemsize: int) -> list[dict[str, Any]]:
    """What ``layers --json`` prints: a row for each layer that can be pooled so."""
    return [
        {
            "layer": layer.name,
            "shape": list(layer.shape),
            "code_shape": list(layer.code_shape(pool)),
            "size": layer.code_size(pool),
            "bytes": layer.code_size(pool) * itemsize,
            "work": layer.work,
        }
        for layer in layers
        if layer.fits(pool)
    ]


def layers_text(layers: Sequence[Layer], *, pool: str, itemsize: int) -> str:
    """Each layer that can be pooled so: map, code, bytes an image, the network's work up to it."""
    return table(
        ["layer", "shape", "code", "bytes/image", "work"],
        (
            [
                layer.name,
                shape(layer.shape),
                shape(layer.code_shape(pool)),
                size(layer.code_size(pool) * itemsize),
                f"{layer.work:.1%}",
            ]
            for layer in layers
            if layer.fits(pool)
        ),
    )


def shape(values: Sequence[int]) -> str:
    """A shape as 512×13×13."""
    return "×".join(map(str, values))


# extract, status, verify


def extraction_text(done: Extraction) -> str:
    """What was done, where each layer stands, where the time went."""
    lines = []
    changes = done.changes
    if changes:
        lines.append(
            f"images: {changes.added} added, {changes.changed} changed, {changes.removed} removed "
            "since the last run"
        )
    lines.append(status_text(done.cache, done.cache.status(), done.rejected))
    lines.append("")
    if done.rows:
        lines += [
            f"encoded {done.rows} images in {done.seconds:.1f} s "
            f"({done.rows / done.seconds:.0f} images/s)",
            "time: " + ", ".join(f"{k} {v:.0%}" for k, v in done.clock.shares(*_STAGES).items()),
            advice(done.clock),
        ]
    else:
        lines.append(f"nothing to do: every code is in the cache ({done.seconds:.1f} s)")
    return "\n".join(lines)


def extraction_json(done: Extraction) -> dict[str, Any]:
    """What ``extract --json`` prints: the status, and what this run did."""
    return status_json(done.cache, done.cache.status()) | {
        "encoded": done.rows,
        "changes": {
            "added": done.changes.added,
            "changed": done.changes.changed,
            "removed": done.changes.removed,
        },
        "rejected": {done.cache.images.path[row]: why for row, why in done.rejected.items()},
        "seconds": done.seconds,
        "shares": done.clock.shares(*_STAGES),
    }


def advice(clock: Clock) -> str:
    """One sentence on the stage that the others wait for."""
    shares = clock.shares("wait", "forward", "blocked")
    if shares["blocked"] > 0.2:
        return "writing is the limit: a faster disk for the cache would help"
    if shares["wait"] > 0.2:
        if clock.seconds["read"] > clock.seconds["decode"]:
            return "reading is the limit: raise --workers, or move the images to a faster disk"
        return "decoding is the limit: raise --workers, or store the images smaller"
    return "the network is the limit: a GPU, an earlier layer or a smaller network would help"


def status_text(cache: Cache, status: dict[str, LayerStatus], rejected: dict[int, str]) -> str:
    """Where a cache stands, for people."""
    spec = cache.spec
    pooled = f"pool {spec.pool}" if spec.pool != "none" else "unpooled"
    lines = [
        f"cache {cache.path}: {len(cache.images)} rows of {spec.model}, weights "
        f"{spec.weights_digest[:12]}, {spec.preprocess.crop} px, {spec.precision}, "
        f"{'relu, ' if spec.relu else ''}{pooled}",
        table(
            ["layer", "done", "rejected", "missing", "code", "dtype", "size"],
            (
                [
                    name,
                    str(layer.done),
                    str(layer.rejected),
                    str(layer.missing),
                    shape(layer.shape),
                    layer.dtype,
                    size(layer.bytes),
                ]
                for name, layer in status.items()
            ),
        ),
    ]
    if any("+" in layer.dtype for layer in status.values()):
        lines.append("some shards are float32: their codes exceed float16's range")
    for row, reason in list(rejected.items())[:_MOST_REJECTED]:
        lines.append(f"rejected: {printable(cache.images.path[row])}: {reason}")
    if len(rejected) > _MOST_REJECTED:
        more = len(rejected) - _MOST_REJECTED
        lines.append(f"… and {more} more: {cache.path / 'rejected.csv'} names them all")
    return "\n".join(lines)


def status_json(cache: Cache, status: dict[str, LayerStatus]) -> dict[str, Any]:
    """What ``status --json`` prints."""
    return {
        "rows": len(cache.images),
        "complete": bool(status) and all(layer.missing == 0 for layer in status.values()),
        "spec_digest": cache.spec.digest(),
        "spec": cache.spec.to_json(),
        "layers": {
            name: {
                "done": layer.done,
                "missing": layer.missing,
                "rejected": layer.rejected,
                "shape": list(layer.shape),
                "dtype": layer.dtype,
                "bytes": layer.bytes,
            }
            for name, layer in status.items()
        },
    }


def verify_text(cache: Cache, bad: Sequence[Bad]) -> str:
    """What failed, or that nothing did."""
    if bad:
        return "\n".join(f"bad: {item.file}: {item.why}" for item in bad)
    shards = cache.shard_count * len(cache.layers)
    return f"ok: {shards} shards in {len(cache.layers)} layers are what was written"


def verify_json(bad: Sequence[Bad]) -> dict[str, Any]:
    """What ``verify --json`` prints."""
    return {"ok": not bad, "bad": [{"file": item.file, "why": item.why} for item in bad]}


def repair_text(bad: Sequence[Bad], done: Extraction) -> str:
    """What was bad before the repair, and how much was done again."""
    lines = [f"repaired: {item.file}: {item.why}" for item in bad if item.shard is not None]
    return "\n".join([*lines, f"{done.rows} images encoded again"])


# fit, evaluate


def fit_text(done: Fit, saved: str) -> str:
    """The search, the choice, the judgement, and where the head is."""
    lines = []
    if done.selection:
        lines += [selection_text(done.selection), ""]
    head = done.head
    lines.append(
        f"{head.clf} on {head.layer}: {done.train} images of {len(head.classes)} classes, "
        f"codes of size {head.coef.shape[1]}, C = {done.c:.3g}"
    )
    if done.selection:
        best = done.selection.best
        lines.append(
            f"cross-validation  {best.mean:.1%} ± {best.std:.1%} in {done.selection.folds} folds"
        )
        if done.selection.at_edge:
            lines.append("the best C is at the edge of the grid: a better one may lie beyond it")
    if not done.converged:
        lines.append("the solver stopped before it met its tolerance: a smaller C converges sooner")
    if done.heldout:
        lines.append(score_text(done.heldout))
    else:
        lines.append("no held-out split: the cross-validation is all that can be said")
    lines.append(f"saved {saved} ({done.seconds:.1f} s)")
    return "\n".join(lines)


def selection_text(selection: Selection) -> str:
    """Every C with its folds' mean and deviation; an asterisk at the chosen one."""
    return table(
        ["C", "accuracy", "± std", ""],
        (
            [
                f"{candidate.c:.3g}",
                f"{candidate.mean:.1%}",
                f"{candidate.std:.1%}",
                ("*" if candidate is selection.best else "")
                + ("" if candidate.converged else " not converged"),
            ]
            for candidate in selection.candidates
        ),
    )


def evaluation_text(found: Score, rejected: dict[str, str]) -> str:
    """The judgement, and the images that could not be judged."""
    lines = [score_text(found)]
    for path, reason in list(rejected.items())[:_MOST_REJECTED]:
        lines.append(f"rejected, and not in the score: {printable(path)}: {reason}")
    if len(rejected) > _MOST_REJECTED:
        lines.append(f"… and {len(rejected) - _MOST_REJECTED} more")
    return "\n".join(lines)


def score_text(found: Score) -> str:
    """Accuracy with its interval, mean per class, and what is taken for what."""
    low, high = found.ci95
    name = f"held-out {found.split}" if found.split else "all images"
    return "\n".join(
        [
            f"{name}  {found.accuracy:.1%} of {found.n} (95 % interval {low:.1%} to {high:.1%}), "
            f"mean per class {found.mean_per_class:.1%}",
            confusion_text(found),
        ]
    )


def confusion_text(found: Score) -> str:
    """The confusion matrix, or its largest errors where it would be too large to read."""
    names = [printable(name) for name in found.classes]
    if len(names) <= _MOST_CLASSES:
        return table(
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
    return table(
        ["most often confused", "taken for", "times"],
        ([names[true], names[predicted], str(count)] for count, true, predicted in worst),
    )


# predict


def prediction_lines(
    predictions: Iterable[Prediction], *, style: str, top: int | None
) -> Iterator[str]:
    """A line an image, as ``predict --format`` prints them.

    Parameters
    ----------
    predictions : iterable of Prediction
    style : str
        ``"table"``, ``"csv"`` or ``"jsonl"``.
    top : int, optional
        How many classes; for ``jsonl`` all of them unless given, else the best one.
    """
    write = {"table": _table_lines, "csv": _csv_lines, "jsonl": _json_lines}[style]
    return write(predictions, top)


def _table_lines(predictions: Iterable[Prediction], top: int | None) -> Iterator[str]:
    for prediction in predictions:
        path = printable(str(prediction.path))
        if prediction.reason:
            yield f"{path}  rejected: {prediction.reason}"
        else:
            best = list(prediction.scores.items())[: top or 1]
            yield "  ".join([path, *(f"{printable(name)} {value:.3f}" for name, value in best)])


def _csv_lines(predictions: Iterable[Prediction], top: int | None) -> Iterator[str]:
    count = top or 1
    names = [
        "label",
        "score",
        *(f"{n}_{i}" for i in range(2, count + 1) for n in ("label", "score")),
    ]
    yield _csv_line(["path", *names, "reason"])
    for prediction in predictions:
        best = [cell for pair in list(prediction.scores.items())[:count] for cell in pair]
        best += [""] * (2 * count - len(best))
        yield _csv_line([str(prediction.path), *best, prediction.reason])


def _csv_line(cells: Sequence[object]) -> str:
    out = io.StringIO()
    csv.writer(out).writerow(cells)  # Python 3.11 quotes a line break only where lines end in one
    return out.getvalue().removesuffix("\r\n")


def _json_lines(predictions: Iterable[Prediction], top: int | None) -> Iterator[str]:
    for prediction in predictions:
        scores = dict(list(prediction.scores.items())[:top])
        line: dict[str, Any] = {
            "path": str(prediction.path),
            "label": prediction.label or None,
            "scores": scores,
        }
        if prediction.reason:
            line["reason"] = prediction.reason
        yield json.dumps(line)


def printable(text: str) -> str:
    """A name that keeps to its line, whatever bytes it holds."""
    return text if text.isprintable() else repr(text)[1:-1]
