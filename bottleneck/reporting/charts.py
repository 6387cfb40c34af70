"""Charts as inline SVG: readable by a screen reader, in light and dark, and without colour.

A chart is 360 units wide, as a phone is, and grows with the page: its letters stay readable on
both. Colours are classes of the page's style.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from bottleneck.reporting.html import Html, element

_WIDTH = 360
_MOST_LETTERS = 40  # of a name beside its number


@dataclass(frozen=True)
class Scale:
    """A straight map from values to positions.

    Attributes
    ----------
    low, high : float
        Values at its ends.
    start, end : float
        Their positions.

    Examples
    --------
    >>> Scale(0.5, 1.0, 0, 100)(0.75)
    50.0
    """

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        """Return the position of a value, to a tenth of a unit."""
        share = (value - self.low) / (self.high - self.low)
        return round(self.start + share * (self.end - self.start), 1)

    def ticks(self) -> list[float]:
        """Return three to six round values from end to end.

        Examples
        --------
        >>> Scale(0.5, 1.0, 0, 1).ticks()
        [0.5, 0.6, 0.7, 0.8, 0.9, 1.0]
        """
        span = round(100 * (self.high - self.low))
        step = next(step for step in (1, 2, 5, 10, 20, 25) if span <= 5 * step)
        first = -(-round(100 * self.low) // step) * step
        return [n / 100 for n in range(first, round(100 * self.high) + 1, step)]


@dataclass(frozen=True)
class Estimate:
    """A row of `estimates_chart`.

    Attributes
    ----------
    name : str
    value, error : float
        A share, and its standard error.
    heldout : float or None
        The share on other images.
    marked : bool
        Whether its name is emphasised.
    """

    name: str
    value: float
    error: float
    heldout: float | None = None
    marked: bool = False


@dataclass(frozen=True)
class Point:
    """A point of a line, with an interval.

    Attributes
    ----------
    x, y : float
    low, high : float
        Ends of the interval of y.
    """

    x: float
    y: float
    low: float
    high: float


def estimates_chart(title: str, description: str, rows: Sequence[Estimate]) -> Html:
    """Draw one line for each estimate: a dot with its standard error, a diamond beside it."""
    values = [value for row in rows for value in _extent(row)]
    low = max(0.0, int(10 * min(values)) / 10)
    scale = Scale(min(low, 0.9), 1.0, 16, _WIDTH - 16)
    height = 38 * len(rows)
    parts = [*_ticks_below(scale, 0, height)]
    for i, row in enumerate(rows):
        parts += _estimate(row, scale, 38 * i + 28)
    return _svg(title, description, height + 24, parts)


def _extent(row: Estimate) -> list[float]:
    return [max(0.0, row.value - row.error), *([] if row.heldout is None else [row.heldout])]


def _estimate(row: Estimate, scale: Scale, y: float) -> Iterable[Html]:
    weight = "marked" if row.marked else None
    name = row.name if len(row.name) <= _MOST_LETTERS else f"…{row.name[1 - _MOST_LETTERS :]}"
    yield _text(16, y - 12, name, class_=weight)
    yield _text(_WIDTH - 16, y - 12, f"{row.value:.1%}", text_anchor="end", class_=weight)
    ends = scale(max(scale.low, row.value - row.error)), scale(min(1.0, row.value + row.error))
    yield _line(ends[0], y, ends[1], y, "error")
    yield element("circle", cx=scale(row.value), cy=y, r=5, class_="dot")
    if row.heldout is not None:
        x = scale(row.heldout)
        corners = f"{x},{y - 6} {x + 6},{y} {x},{y + 6} {x - 6},{y}"
        yield element("polygon", points=corners, class_="ring")


def reliability_chart(
    title: str, description: str, points: Sequence[Point], shares: Sequence[tuple[float, float]]
) -> Html:
    """Draw accuracy against confidence with the diagonal, and below it how many predictions.

    Parameters
    ----------
    title, description : str
    points : sequence of Point
        Confidence and accuracy of each bin that has predictions.
    shares : sequence of tuple of float
        Left edge of each bin, and its share of all predictions.
    """
    across, up = Scale(0, 1, 44, _WIDTH - 12), Scale(0, 1, 270, 10)
    parts = [*_grid(across, up), _line(across(0), up(0), across(1), up(1), "diagonal")]
    parts += _curve(points, across, up)
    most = max(share for _, share in shares)
    width = (across(1) - across(0)) / len(shares)
    for left, share in shares:
        tall = round(50 * share / most, 1)
        where = {"x": across(left) + 1, "y": 370 - tall}
        parts.append(element("rect", **where, width=width - 2, height=tall, class_="bar"))
    parts.append(_line(across(0), 370, across(1), 370, "axis"))
    parts.append(_text(across(0.5), 310, "confidence", text_anchor="middle"))
    parts.append(_text(across(0.5), 386, "predictions", text_anchor="middle"))
    return _svg(title, description, 392, parts)


def curve_chart(
    title: str, description: str, points: Sequence[Point], predicted: Point | None, unit: str
) -> Html:
    """Draw shares against counts, each twice the one before; intervals are vertical lines.

    Parameters
    ----------
    title, description : str
    points : sequence of Point
    predicted : Point or None
        What follows them, behind a dashed line.
    unit : str
        Of the counts.
    """
    every = [*points, *([] if predicted is None else [predicted])]
    low = max(0.0, int(10 * min(point.low for point in every)) / 10)
    across = Scale(0, max(1, len(every) - 1), 64, _WIDTH - 24)
    up = Scale(min(low, 0.9), 1.0, 240, 10)
    parts = [_tick_of_share(up, value, across) for value in up.ticks()]
    for i, point in enumerate(every):
        parts.append(_text(across(i), 260, f"{point.x:.0f}", text_anchor="middle"))
    parts.append(_text(across(across.high / 2), 282, unit, text_anchor="middle"))
    placed = [Point(i, point.y, point.low, point.high) for i, point in enumerate(every)]
    measured = placed[: len(points)]
    if predicted is not None:
        before, after = placed[-2:]
        ends = across(before.x), up(before.y), across(after.x), up(after.y)
        parts.append(_line(*ends, "diagonal"))
        parts.append(_line(ends[2], up(after.low), ends[2], up(after.high), "diagonal"))
        parts.append(element("circle", cx=ends[2], cy=ends[3], r=4, class_="ring"))
    return _svg(title, description, 290, [*parts, *_curve(measured, across, up)])


def _curve(points: Sequence[Point], across: Scale, up: Scale) -> Iterable[Html]:
    places = " ".join(f"{across(point.x)},{up(point.y)}" for point in points)
    yield element("polyline", points=places, class_="curve")
    for point in points:
        x = across(point.x)
        yield _line(x, up(point.low), x, up(point.high), "error")
        yield element("circle", cx=x, cy=up(point.y), r=4, class_="dot")


def _grid(across: Scale, up: Scale) -> Iterable[Html]:
    yield from _ticks_below(across, up(up.high), up(up.low))
    for value in up.ticks():
        yield _tick_of_share(up, value, across)


def _tick_of_share(up: Scale, value: float, across: Scale) -> Html:
    y = up(value)
    line = _line(across(across.low), y, across(across.high), y, "grid")
    label = _text(across(across.low) - 8, y + 4, f"{value:.0%}", text_anchor="end")
    return element("g", line, label)


def _ticks_below(scale: Scale, top: float, bottom: float) -> Iterable[Html]:
    for value in scale.ticks():
        yield _line(scale(value), top, scale(value), bottom, "grid")
        yield _text(scale(value), bottom + 18, f"{value:.0%}", text_anchor="middle")


def _svg(title: str, description: str, height: float, parts: Iterable[Html]) -> Html:
    drawing = element(
        "svg",
        element("title", title),
        element("desc", description),
        *parts,
        role="img",
        viewBox=f"0 0 {_WIDTH} {height}",
        aria_label=f"{title}. {description}",
    )
    return element("div", drawing, class_="chart")


def _line(x1: float, y1: float, x2: float, y2: float, kind: str) -> Html:
    return element("line", x1=x1, y1=y1, x2=x2, y2=y2, class_=kind)


def _text(x: float, y: float, text: str, **attributes: str | None) -> Html:
    return element("text", text, x=x, y=y, **attributes)
