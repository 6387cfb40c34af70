"""Plot the accuracy of layers against the share of the network that each needs."""

from collections.abc import Sequence
from itertools import cycle, product
from typing import TYPE_CHECKING, Any

from bottleneck.fitting.plotting.style import (
    BAND,
    CLASSIFIERS,
    FAINT,
    INK,
    percent,
    style_scores,
    with_margin,
)
from bottleneck.fitting.sweep_row import SweepRow
from bottleneck.pooling import split_pooled_name

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.transforms import Transform

_SIZE = (6.5, 4.0)  # inches
_LINES: list[Any] = ["-", "--", ":", "-.", (0, (5, 1, 1, 1, 1, 1))]  # one for each pooling
_OFFSET = 2.2  # points between the classifiers and poolings of one layer
_BEHIND = 0.07  # share of the axes between rows behind the deepest layer
_NAME_WIDTH = 0.034  # share of the axes that a slanted name needs
_MAX_NAMES = 30  # as many slanted names as fit beside each other
_MAX_NAME_LENGTH = 22  # characters; of a longer name the end is shown


def sweep_figure(rows: Sequence[SweepRow], *, best: SweepRow, recommended: SweepRow) -> "Figure":
    """Plot a sweep as a matplotlib figure.

    Each classifier has a line: the mean of the folds with its standard error. Each pooling that
    layers have of their own has a broken one. Rows of several layers, or of more views than the
    others, are behind the deepest layer, without a line. Open markers show the held-out split. A
    band marks what is within one standard error of the best row, a ring the recommended row. If the
    share of a layer is unknown, layers have equal distances.

    Parameters
    ----------
    rows : sequence of SweepRow
        In order of depth.
    best, recommended : SweepRow
        Those of the band and of the ring.

    Returns
    -------
    matplotlib.figure.Figure
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=_SIZE, layout="constrained")
    axes = figure.add_subplot()
    x_of, known = _positions(rows), all(row.cost is not None for row in rows)
    behind = _rows_behind(rows)
    clfs = list(dict.fromkeys(row.clf for row in rows))
    pools = list(dict.fromkeys(_own_pooling(row, behind) for row in rows))
    drawn = list(product(clfs, pools))
    offsets = {one: _OFFSET * (2 * i - len(drawn) + 1) for i, one in enumerate(drawn)}
    lines = dict(zip(pools, cycle(_LINES if known else ["none"]), strict=False))
    handles: list[Any] = []
    for (clf, pool), offset in offsets.items():
        own = [row for row in rows if (row.clf, _own_pooling(row, behind)) == (clf, pool)]
        alone = [row for row in own if row.layer not in behind] or own
        artists = _draw_rows(axes, alone, x_of, offset=offset, line=lines[pool])
        if pool:
            artists[0].set_label(f"{clf}, {pool}")
        handles += artists[: 1 if pool else None]
        if together := own[len(alone) :]:
            _draw_rows(axes, together, x_of, offset=offset, line="none")
    ring = offsets[recommended.clf, _own_pooling(recommended, behind)]
    handles += _draw_ring(axes, x_of[recommended.layer], recommended.cv.mean, offset=ring)
    handles.append(_draw_band(axes, best))
    _set_scales(axes, rows, right=max(1.0, *x_of.values()) if known else None)
    _draw_baseline(axes, rows)
    _write_names(axes, x_of, recommended)
    # The legend is filled by column: one for each classifier, the last for what concerns both.
    style: dict[str, Any] = {"ncols": len(clfs) + 1, "frameon": False, "fontsize": 8}
    figure.legend(handles=handles, loc="outside lower center", **style)
    return figure


def _positions(rows: Sequence[SweepRow]) -> dict[str, float]:
    """Return the x of each row: its share of the network, or its index if one is unknown."""
    names = list(dict.fromkeys(row.layer for row in rows))
    if any(row.cost is None for row in rows):
        return {name: float(index) for index, name in enumerate(names)}
    shares = {row.layer: (row.cost or 0.0) / row.views for row in rows}
    behind = _rows_behind(rows)
    return shares | {name: 1 + _BEHIND * i for i, name in enumerate(behind, start=1)}


def _own_pooling(row: SweepRow, behind: Sequence[str]) -> str:
    """Return the pooling in the name of a row's layer; empty if it has none, or is not drawn."""
    own = None if row.layer in behind else split_pooled_name(row.layers[0])[1]
    return row.layers[0].rpartition("@")[2] if own else ""


def _rows_behind(rows: Sequence[SweepRow]) -> list[str]:
    """Return the rows that have no place among the layers: of several, or of more views."""
    fewest = min(row.views for row in rows)
    behind = [row.layer for row in rows if len(row.layers) > 1 or row.views > fewest]
    return list(dict.fromkeys(behind))


def _draw_rows(
    axes: "Axes", rows: Sequence[SweepRow], x_of: dict[str, float], *, offset: float, line: str
) -> list[Any]:
    """Draw the means of one classifier with their errors, and its held-out markers."""
    clf, x = rows[0].clf, [x_of[row.layer] for row in rows]
    colour, marker = CLASSIFIERS[clf]
    style: dict[str, Any] = {"color": colour, "marker": marker, "markersize": 5}
    style["transform"] = _offset_transform(axes, offset)
    means = axes.errorbar(
        x,
        [row.cv.mean for row in rows],
        yerr=[row.cv.standard_error for row in rows],
        label=f"{clf}, cross-validation",
        linestyle=line,
        linewidth=1.3,
        elinewidth=1,
        **style,
    )
    if not rows[0].heldout:
        return [means]
    style |= {"markerfacecolor": "white", "linestyle": "none"}
    values = [row.heldout_metric for row in rows if row.heldout_metric is not None]
    return [means, *axes.plot(x, values, label=f"{clf}, held-out {rows[0].heldout.split}", **style)]


def _draw_ring(axes: "Axes", x: float, y: float, *, offset: float) -> list[Any]:
    return axes.plot(
        [x],
        [y],
        label="recommended",
        color=INK,
        marker="o",
        markersize=12,
        markerfacecolor="none",
        linestyle="none",
        transform=_offset_transform(axes, offset),
    )


def _offset_transform(axes: "Axes", offset: float) -> "Transform":
    """Return the data's transform, moved to the right by so many points."""
    from matplotlib.transforms import ScaledTranslation

    return axes.transData + ScaledTranslation(offset / 72, 0, axes.figure.dpi_scale_trans)


def _draw_band(axes: "Axes", best: SweepRow) -> Any:
    lower = best.cv.mean - best.cv.standard_error
    label = "within a standard error of the best"
    return axes.axhspan(lower, best.cv.mean, color=BAND, linewidth=0, zorder=0, label=label)


def _set_scales(axes: "Axes", rows: Sequence[SweepRow], *, right: float | None) -> None:
    if right is not None:
        axes.set_xlim(0, right + 0.02)
        axes.set_xticks([0, 0.2, 0.4, 0.6, 0.8, 1])
        axes.xaxis.set_major_formatter(percent)
        label = "share of the network's multiply-adds up to the layer"
    else:
        axes.set_xlim(-0.5, len({row.layer for row in rows}) - 0.5)
        axes.set_xticks([])
        label = "layers (the share of the network that each needs is not known)"
    axes.set_xlabel(label, color=INK, fontsize=9)
    errors = [(row.cv.mean, row.cv.standard_error) for row in rows]
    values = [mean + side * error for mean, error in errors for side in (-1, 1)]
    values += [row.heldout_metric for row in rows if row.heldout_metric is not None]
    style_scores(axes, rows[0].metric, values)


def _draw_baseline(axes: "Axes", rows: Sequence[SweepRow]) -> None:
    """Draw the majority baseline as a line where the rows keep at least half of the height."""
    baseline = rows[0].majority_baseline
    if baseline is None:
        return
    low, high = axes.get_ylim()
    text: dict[str, Any] = {"color": FAINT, "fontsize": 8, "ha": "right", "va": "bottom"}
    right_edge = axes.get_yaxis_transform()
    if baseline < low - (high - low):
        axes.text(0.995, low, f"chance {baseline:.1%} ↓", transform=right_edge, **text)
        return
    axes.set_ylim(*with_margin(min(low, baseline), max(high, baseline)))
    axes.axhline(baseline, color=FAINT, linewidth=0.9, linestyle=(0, (1, 2)), zorder=1)
    axes.text(0.995, baseline, f"chance {baseline:.1%}", transform=right_edge, **text)


def _write_names(axes: "Axes", x_of: dict[str, float], chosen: SweepRow) -> None:
    """Write the layers' names above the axes; only the recommended one if they do not all fit."""
    names = sorted(x_of, key=lambda name: x_of[name])
    if len(names) > _MAX_NAMES:
        names = [chosen.layer]
    left, right = axes.get_xlim()
    wanted = [(x_of[name] - left) / (right - left) for name in names]
    style: dict[str, Any] = {"transform": axes.transAxes, "clip_on": False}
    for name, x, text_x in zip(names, wanted, _spread(wanted, _NAME_WIDTH), strict=True):
        axes.plot([x, text_x], [1, 1.03], color=FAINT, linewidth=0.6, **style)
        axes.text(
            text_x,
            1.045,
            name if len(name) <= _MAX_NAME_LENGTH else f"…{name[1 - _MAX_NAME_LENGTH :]}",
            color=INK,
            fontsize=8,
            fontweight="bold" if name == chosen.layer else "normal",
            rotation=45,
            rotation_mode="anchor",
            parse_math=False,
            **style,
        )


def _spread(wanted: Sequence[float], gap: float) -> list[float]:
    """Move ascending positions to the right until they are a gap apart, then back to at most 1."""
    spread: list[float] = []
    for x in wanted:
        spread.append(max(x, spread[-1] + gap) if spread else x)
    limit = 1.0
    for i in reversed(range(len(spread))):
        spread[i] = min(spread[i], limit)
        limit = spread[i] - gap
    return spread
