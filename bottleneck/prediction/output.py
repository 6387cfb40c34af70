"""Format predictions as lines of a table, CSV or JSON."""

import csv
import io
import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from bottleneck.data import SEPARATOR
from bottleneck.prediction.prediction import Prediction
from bottleneck.runtime import escape_unprintable


def prediction_lines(
    predictions: Iterable[Prediction], *, style: str, top: int | None = None
) -> Iterator[str]:
    """Format one line for each image, in the style of a table, CSV or JSON lines.

    Parameters
    ----------
    predictions : iterable of Prediction
    style : str
        ``"table"``, ``"csv"`` (with a header line) or ``"jsonl"``.
    top : int, optional
        How many classes a line has, best first. By default all for ``"jsonl"``, else those of the
        label: one, or with several labels an image any number, in CSV with ``|`` between them.

    Yields
    ------
    str
        A line without its line break. A CSV line may contain quoted line breaks.

    Examples
    --------
    >>> from types import SimpleNamespace
    >>> cat = SimpleNamespace(path="a.jpg", label="cat", scores={"cat": 0.9, "dog": 0.1}, reason="")
    >>> list(prediction_lines([cat], style="table", top=2))
    ['a.jpg  cat 0.900  dog 0.100']
    >>> list(prediction_lines([cat], style="csv", top=None))
    ['path,label,score,reason', 'a.jpg,cat,0.9,']
    """
    write = {"table": _table_lines, "csv": _csv_lines, "jsonl": _json_lines}[style]
    return write(predictions, top)


def _label_scores(prediction: Prediction) -> dict[str, float]:
    """Return the score of each class of the label: of one, or of several or none."""
    label, scores = prediction.label, prediction.scores
    names = [label] if label in scores else label.split(SEPARATOR)
    return {name: scores[name] for name in names if name in scores}


def _table_lines(predictions: Iterable[Prediction], top: int | None) -> Iterator[str]:
    for prediction in predictions:
        path = escape_unprintable(str(prediction.path))
        if prediction.reason:
            yield f"{path}  rejected: {prediction.reason}"
        else:
            labels = prediction.scores if top else _label_scores(prediction)
            best = [pair for pair in prediction.scores.items() if pair[0] in labels][:top]
            yield "  ".join(
                [path, *(f"{escape_unprintable(name)} {value:.3f}" for name, value in best)]
            )


def _csv_lines(predictions: Iterable[Prediction], top: int | None) -> Iterator[str]:
    numbers = ["", *(f"_{i}" for i in range(2, (top or 1) + 1))]
    names = [f"{name}{number}" for number in numbers for name in ("label", "score")]
    yield _csv_line(["path", *names, "reason"])
    for prediction in predictions:
        if top:
            cells = [cell for pair in list(prediction.scores.items())[:top] for cell in pair]
        else:  # several scores are separated as their labels are
            scores = _label_scores(prediction).values()
            cells = [prediction.label, SEPARATOR.join(map(str, scores))]
        cells += [""] * (len(names) - len(cells))
        yield _csv_line([str(prediction.path), *cells, prediction.reason])


def _csv_line(cells: Sequence[object]) -> str:
    out = io.StringIO()
    csv.writer(out).writerow(cells)  # Python 3.11 quotes a line break only where lines end in one
    return out.getvalue().removesuffix("\r\n")


def _json_lines(predictions: Iterable[Prediction], top: int | None) -> Iterator[str]:
    for prediction in predictions:
        scores = dict(list(prediction.scores.items())[:top])
        line: dict[str, Any] = {
            "path": str(prediction.path),
            "label": None if prediction.reason else prediction.label,
            "scores": scores,
        }
        if prediction.reason:
            line["reason"] = prediction.reason
        yield json.dumps(line)
