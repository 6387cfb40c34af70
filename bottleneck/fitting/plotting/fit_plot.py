"""Plot a fit: the search for C, and which classes the held-out images were taken for."""

from typing import TYPE_CHECKING, Any

import numpy as np

from bottleneck.errors import InvalidOptionError
from bottleneck.fitting.plotting.style import CLASSIFIERS, FAINT, INK, style_scores
from bottleneck.fitting.scoring.scores import ClassificationScore, Score
from bottleneck.fitting.selection.search_result import SearchResult
from bottleneck.runtime import escape_unprintable

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_PANEL = (4.2, 4.0)  # inches
_MAX_NAMED = 30  # classes whose names fit along an axis
_MAX_NUMBERED = 14  # classes whose counts fit into the cells
_MAX_NAME_LENGTH = 14  # characters; of a longer name the beginning is shown
_LINES = ("-", "--", ":", "-.")  # for scalings


def fit_figure(clf: str, search: SearchResult | None, heldout: Score | None) -> "Figure":
    """Plot a fit as a matplotlib figure.

    On the left each scaling has a line: the mean of the folds at each C, with its standard error. A
    ring marks what was selected, an open marker the held-out split. On the right is the confusion
    matrix of the held-out images: the share of each true class that was taken for each class. What
    there is not is left out.

    Parameters
    ----------
    clf : str
        ``"svm"`` or ``"softmax"``.
    search : SearchResult or None
        None without cross-validation.
    heldout : ClassificationScore, MultilabelScore or None
        Score on the held-out split; None without one.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    InvalidOptionError
        There was neither a search nor a held-out split with one class an image.
    """
    from matplotlib.figure import Figure

    matrix = heldout if isinstance(heldout, ClassificationScore) else None
    panels = (search is not None) + (matrix is not None)
    if not panels:
        raise InvalidOptionError("plot", "this fit", "one with folds, or with a held-out split")
    figure = Figure(figsize=(_PANEL[0] * panels, _PANEL[1]), layout="constrained")
    axes = list(figure.subplots(1, panels, squeeze=False)[0])
    if search is not None:
        _draw_search(axes[0], search, heldout, clf=clf)
        handles, _ = axes[0].get_legend_handles_labels()
        style: dict[str, Any] = {"ncols": len(handles), "frameon": False, "fontsize": 8}
        figure.legend(handles=handles, loc="outside lower left", **style)
    if matrix is not None:
        _draw_confusion(axes[-1], matrix)
    return figure


def _draw_search(axes: "Axes", search: SearchResult, heldout: Score | None, *, clf: str) -> None:
    (colour, marker), best = CLASSIFIERS[clf], search.best
    values = []
    for number, scaling in enumerate(dict.fromkeys(one.scaling for one in search.candidates)):
        own = sorted((x for x in search.candidates if x.scaling == scaling), key=lambda x: x.c)
        axes.errorbar(
            [one.c for one in own],
            [one.mean for one in own],
            yerr=[one.standard_error for one in own],
            label=f"{clf}, {scaling}, cross-validation",
            color=colour,
            marker=marker,
            markersize=4,
            linewidth=1.3,
            elinewidth=1,
            linestyle=_LINES[number % len(_LINES)],
        )
        values += [one.mean + side * one.standard_error for one in own for side in (-1, 1)]
    ring: dict[str, Any] = {"color": INK, "marker": "o", "markersize": 11, "linestyle": "none"}
    axes.plot([best.c], [best.mean], markerfacecolor="none", label="selected", **ring)
    if heldout is not None:
        score = heldout.metric(search.metric)
        style: dict[str, Any] = {"color": colour, "marker": marker, "linestyle": "none"}
        label = f"held-out {heldout.split}"
        axes.plot([best.c], [score], markerfacecolor="white", label=label, **style)
        values.append(score)
    axes.set_xscale("log")
    axes.set_xlabel("C", color=INK, fontsize=9)
    style_scores(axes, search.metric, values)
    axes.minorticks_off()


def _draw_confusion(axes: "Axes", heldout: ClassificationScore) -> None:
    confusion = heldout.confusion
    shares = confusion / np.maximum(confusion.sum(axis=1, keepdims=True), 1)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    names = [_shortened(name) for name in heldout.classes]
    places = range(len(names)) if len(names) <= _MAX_NAMED else []
    named = [names[i] for i in places]
    axes.set_xticks(places, named, rotation=45, ha="right", rotation_mode="anchor")
    axes.set_yticks(places, named)
    for text in [*axes.get_xticklabels(), *axes.get_yticklabels()]:
        text.set_parse_math(False)
    axes.tick_params(labelsize=8, color=FAINT, labelcolor=INK, length=0)
    axes.set_xlabel("predicted", color=INK, fontsize=9)
    axes.set_ylabel("true", color=INK, fontsize=9)
    axes.set_title(f"images of {heldout.split}", color=INK, fontsize=9)
    axes.spines[:].set_visible(False)
    if len(names) <= _MAX_NUMBERED:
        for (true, predicted), count in np.ndenumerate(confusion):
            colour = "white" if shares[true, predicted] > 0.5 else INK
            style: dict[str, Any] = {"ha": "center", "va": "center", "fontsize": 8}
            if count:
                axes.text(predicted, true, str(count), color=colour, **style)


def _shortened(name: str) -> str:
    name = escape_unprintable(name)  # bytes that are not UTF-8, control characters
    return name if len(name) <= _MAX_NAME_LENGTH else f"{name[: _MAX_NAME_LENGTH - 1]}…"
