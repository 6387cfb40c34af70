"""Plot: how good the codes of a layer are against the share of the network that they need.

The only module that imports matplotlib, and only when something is drawn. Figures are objects of
their own: no pyplot, no display, nothing that outlives the call.
"""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bottleneck.errors import InvalidOptionError
from bottleneck.fitting.sweep import SweepRow
from bottleneck.runtime.files import atomic_write

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.transforms import Transform

PICTURES = (".svg", ".png", ".pdf")

# M. Okabe and K. Ito, "Color universal design" (2008): told apart by every kind of eye. The
# markers tell them apart on paper without colours.
_STYLES = {"svm": ("#0072B2", "o"), "softmax": ("#D55E00", "s")}
_INK, _FAINT, _BAND, _GRID = "#262626", "#8c8c8c", "#e2e2e2", "#eeeeee"

_SIZE = (6.5, 4.0)  # inches
_SIDESTEP = 2.2  # points by which classifiers of one layer stand beside each other
_NAME_WIDTH = 0.034  # of the axes: what a slanted name needs
_MOST_NAMES = 30  # as many slanted names as stand beside each other
_LONGEST_NAME = 22  # characters; of a longer name the end says where it is


def require_picture(path: Path) -> None:
    """Refuse a file that is not named as a picture.

    Raises
    ------
    InvalidOptionError
    """
    if path.suffix.lower() not in PICTURES:
        raise InvalidOptionError("plot", str(path), f"a name that ends in {', '.join(PICTURES)}")


def plot_sweep(path: Path, rows: Sequence[SweepRow], *, best: SweepRow, chosen: SweepRow) -> None:
    """Draw a sweep into a file, whole or not at all.

    Parameters
    ----------
    path : Path
        Its suffix, one of `PICTURES`, decides the format.
    rows : sequence of SweepRow
        In order of depth.
    best, chosen : SweepRow
        As `bottleneck.fitting.sweep.best_row` and `bottleneck.fitting.sweep.recommend` give them.

    Raises
    ------
    InvalidOptionError
        The suffix is another.
    OSError
        The disk refused it.
    """
    require_picture(path)
    picture = io.BytesIO()
    figure = sweep_figure(rows, best=best, chosen=chosen)
    figure.savefig(picture, format=path.suffix[1:].lower(), dpi=200)
    with atomic_write(path) as temporary:
        temporary.write_bytes(picture.getvalue())


def sweep_figure(rows: Sequence[SweepRow], *, best: SweepRow, chosen: SweepRow) -> "Figure":
    """The figure itself; arguments as in `plot_sweep`.

    A line for each classifier: the mean of the folds with its standard error, the held-out split
    as open markers. A band marks what is within one standard error of the best, a ring what is
    recommended. Where the share of a layer is not known, layers stand at equal distances.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=_SIZE, layout="constrained")
    axes = figure.add_subplot()
    places, known = _places(rows), all(row.work is not None for row in rows)
    clfs = list(dict.fromkeys(row.clf for row in rows))
    steps = {clf: _SIDESTEP * (2 * i - len(clfs) + 1) for i, clf in enumerate(clfs)}
    drawn: list[Any] = []
    for clf, step in steps.items():
        own = [row for row in rows if row.clf == clf]
        drawn += _draw_rows(axes, own, places, step=step, line="-" if known else "none")
    drawn += _draw_ring(axes, places[chosen.layer], chosen.cv.mean, step=steps[chosen.clf])
    drawn.append(_draw_band(axes, best))
    _set_scales(axes, rows, known=known)
    _draw_chance(axes, rows)
    _write_names(axes, places, chosen)
    # Filled column by column: one for each classifier, and one for what concerns them all.
    style: dict[str, Any] = {"ncols": len(clfs) + 1, "frameon": False, "fontsize": 8}
    figure.legend(handles=drawn, loc="outside lower center", **style)
    return figure


def _places(rows: Sequence[SweepRow]) -> dict[str, float]:
    """Where each layer stands, by the share of the network or else by its turn."""
    shares = {row.layer: row.work for row in rows}
    known = {layer: work for layer, work in shares.items() if work is not None}
    if len(known) == len(shares):
        return known
    return {layer: float(turn) for turn, layer in enumerate(shares)}


def _draw_rows(
    axes: "Axes", rows: Sequence[SweepRow], places: dict[str, float], *, step: float, line: str
) -> list[Any]:
    """One classifier: its means with their errors, and its held-out markers."""
    clf, x = rows[0].clf, [places[row.layer] for row in rows]
    colour, marker = _STYLES[clf]
    style: dict[str, Any] = {"color": colour, "marker": marker, "markersize": 5}
    style["transform"] = _aside(axes, step)
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
    found = [row.measured for row in rows if row.measured is not None]
    return [means, *axes.plot(x, found, label=f"{clf}, held-out {rows[0].heldout.split}", **style)]


def _draw_ring(axes: "Axes", x: float, y: float, *, step: float) -> list[Any]:
    return axes.plot(
        [x],
        [y],
        label="recommended",
        color=_INK,
        marker="o",
        markersize=12,
        markerfacecolor="none",
        linestyle="none",
        transform=_aside(axes, step),
    )


def _aside(axes: "Axes", step: float) -> "Transform":
    """Where the data are, but so many points to the right."""
    from matplotlib.transforms import ScaledTranslation

    return axes.transData + ScaledTranslation(step / 72, 0, axes.figure.dpi_scale_trans)


def _draw_band(axes: "Axes", best: SweepRow) -> Any:
    least = best.cv.mean - best.cv.standard_error
    label = "within a standard error of the best"
    return axes.axhspan(least, best.cv.mean, color=_BAND, linewidth=0, zorder=0, label=label)


def _set_scales(axes: "Axes", rows: Sequence[SweepRow], *, known: bool) -> None:
    if known:
        axes.set_xlim(0, 1.02)
        axes.xaxis.set_major_formatter(_percent)
        below = "share of the network's multiply-adds up to the layer"
    else:
        axes.set_xlim(-0.5, len({row.layer for row in rows}) - 0.5)
        axes.set_xticks([])
        below = "layers (the share of the network that each needs is not known)"
    axes.set_xlabel(below, color=_INK, fontsize=9)
    errors = [(row.cv.mean, row.cv.standard_error) for row in rows]
    drawn = [mean + side * error for mean, error in errors for side in (-1, 1)]
    drawn += [row.measured for row in rows if row.measured is not None]
    axes.set_ylim(*_widened(min(drawn), max(drawn)))
    axes.yaxis.set_major_formatter(_percent)
    metric = rows[0].metric.replace("_", " ")
    axes.set_ylabel(f"{metric} (folds: mean ± standard error)", color=_INK, fontsize=9)
    axes.tick_params(labelsize=8, color=_FAINT, labelcolor=_INK)
    axes.grid(axis="y", color=_GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(_FAINT)


def _draw_chance(axes: "Axes", rows: Sequence[SweepRow]) -> None:
    """The level of chance, as a line where it leaves at least half of the height to the rows."""
    majority_baseline = rows[0].majority_baseline
    if majority_baseline is None:
        return
    low, high = axes.get_ylim()
    text: dict[str, Any] = {"color": _FAINT, "fontsize": 8, "ha": "right", "va": "bottom"}
    edge = axes.get_yaxis_transform()
    if majority_baseline < low - (high - low):
        axes.text(0.995, low, f"chance {majority_baseline:.1%} ↓", transform=edge, **text)
        return
    axes.set_ylim(*_widened(min(low, majority_baseline), max(high, majority_baseline)))
    axes.axhline(majority_baseline, color=_FAINT, linewidth=0.9, linestyle=(0, (1, 2)), zorder=1)
    axes.text(0.995, majority_baseline, f"chance {majority_baseline:.1%}", transform=edge, **text)


def _write_names(axes: "Axes", places: dict[str, float], chosen: SweepRow) -> None:
    """The layers' names above their places, or where they would not fit beside each other."""
    names = sorted(places, key=lambda name: places[name])
    if len(names) > _MOST_NAMES:
        names = [chosen.layer]
    left, right = axes.get_xlim()
    wanted = [(places[name] - left) / (right - left) for name in names]
    inside: dict[str, Any] = {"transform": axes.transAxes, "clip_on": False}
    for name, place, aside in zip(names, wanted, _apart(wanted, _NAME_WIDTH), strict=True):
        axes.plot([place, aside], [1, 1.03], color=_FAINT, linewidth=0.6, **inside)
        axes.text(
            aside,
            1.045,
            name if len(name) <= _LONGEST_NAME else f"…{name[1 - _LONGEST_NAME :]}",
            color=_INK,
            fontsize=8,
            fontweight="bold" if name == chosen.layer else "normal",
            rotation=45,
            rotation_mode="anchor",
            parse_math=False,
            **inside,
        )


def _apart(wanted: Sequence[float], gap: float) -> list[float]:
    """Places from 0 to 1, ascending, a gap apart, as near as can be to those that are wanted.

    Less a gap for each one before it, a place need only be no smaller than the one before: that
    is isotonic regression, solved by pooling neighbours (M. Ayer et al., "An empirical
    distribution function for sampling with incomplete information", 1955).
    """
    pools: list[list[float]] = []
    for turn, place in enumerate(wanted):
        pools.append([place - turn * gap])
        while len(pools) > 1 and np.mean(pools[-2]) > np.mean(pools[-1]):
            pools[-2:] = [pools[-2] + pools[-1]]
    free = [float(np.mean(pool)) for pool in pools for _ in pool]
    most = 1 - (len(wanted) - 1) * gap
    return [min(max(place, 0.0), most) + turn * gap for turn, place in enumerate(free)]


def _percent(share: float, _tick: float) -> str:
    return f"{100 * share:.6g}%"


def _widened(low: float, high: float) -> tuple[float, float]:
    margin = 0.05 * (high - low) or 0.01
    return low - margin, high + margin
