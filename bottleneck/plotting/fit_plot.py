"""Plot a fit: the search for C, and which classes the held-out images were taken for."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from bottleneck.errors import InvalidOptionError
from bottleneck.plotting.style import CLASSIFIERS, FAINT, INK, percent, style_axes, with_margin

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_PANEL = (4.2, 4.0)  # inches
_MAX_NAMED = 30  # classes whose names fit along an axis
_MAX_NUMBERED = 14  # classes whose counts fit into the cells
_MAX_NAME_LENGTH = 14  # characters; of a longer name the beginning is shown
_LINES = ("-", "--", ":", "-.")  # for scalings


class PlottedCandidate(Protocol):
    """A C with a scaling, and the scores of its folds."""

    @property
    def scaling(self) -> str:
        """Name of the scaling."""
        ...

    @property
    def c(self) -> float:
        """C of the classifier."""
        ...

    @property
    def mean(self) -> float:
        """Mean of the folds."""
        ...

    @property
    def standard_error(self) -> float:
        """Standard error of the mean."""
        ...


class PlottedSearch(Protocol):
    """Candidates and the selected one."""

    @property
    def candidates(self) -> Sequence[PlottedCandidate]:
        """All candidates, ordered by scaling and C."""
        ...

    @property
    def best(self) -> PlottedCandidate:
        """The selected one."""
        ...

    @property
    def metric(self) -> str:
        """Name of the metric."""
        ...


class PlottedScore(Protocol):
    """Score on a held-out split."""

    @property
    def split(self) -> str:
        """Name of the split."""
        ...

    @property
    def classes(self) -> list[str]:
        """Names of the classes."""
        ...

    def metric(self, name: str) -> float:
        """Return a metric of the score."""
        ...


class PlottedHead(Protocol):
    """The classifier."""

    @property
    def clf(self) -> str:
        """``"svm"`` or ``"softmax"``."""
        ...


class PlottedFit(Protocol):
    """A head with its search and its score."""

    @property
    def head(self) -> PlottedHead:
        """The classifier."""
        ...

    @property
    def search(self) -> PlottedSearch | None:
        """Search over C and scalings; None without cross-validation."""
        ...

    @property
    def heldout(self) -> PlottedScore | None:
        """Score on the held-out split; None without one."""
        ...


def fit_figure(fit: PlottedFit) -> "Figure":
    """Plot a fit as a matplotlib figure.

    On the left each scaling has a line: the mean of the folds at each C, with its standard error. A
    ring marks what was selected, an open marker the held-out split. On the right is the confusion
    matrix of the held-out images: the share of each true class that was taken for each class. What
    there is not is left out.

    Parameters
    ----------
    fit : PlottedFit
        Such as a `bottleneck.fitting.fit_result.FitResult`.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    InvalidOptionError
        There was neither a search nor a held-out split with one class an image.
    """
    from matplotlib.figure import Figure

    confusion = getattr(fit.heldout, "confusion", None)  # several labels an image have none
    panels = (fit.search is not None) + (confusion is not None)
    if not panels:
        raise InvalidOptionError("plot", "this fit", "one with folds, or with a held-out split")
    figure = Figure(figsize=(_PANEL[0] * panels, _PANEL[1]), layout="constrained")
    axes = list(figure.subplots(1, panels, squeeze=False)[0])
    if fit.search is not None:
        _draw_search(axes[0], fit.search, fit.heldout, clf=fit.head.clf)
        handles, _ = axes[0].get_legend_handles_labels()
        style: dict[str, Any] = {"ncols": len(handles), "frameon": False, "fontsize": 8}
        figure.legend(handles=handles, loc="outside lower left", **style)
    if fit.heldout is not None and confusion is not None:
        _draw_confusion(axes[-1], confusion, fit.heldout)
    return figure


def _draw_search(
    axes: "Axes", search: PlottedSearch, heldout: PlottedScore | None, *, clf: str
) -> None:
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
    axes.set_ylim(*with_margin(min(values), max(values)))
    axes.yaxis.set_major_formatter(percent)
    metric = search.metric.replace("_", " ")
    axes.set_ylabel(f"{metric} (folds: mean ± standard error)", color=INK, fontsize=9)
    style_axes(axes)
    axes.minorticks_off()


def _draw_confusion(axes: "Axes", confusion: NDArray[np.int64], heldout: PlottedScore) -> None:
    totals = confusion.sum(axis=1, keepdims=True)
    shares = confusion / np.maximum(totals, 1)
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
    return name if len(name) <= _MAX_NAME_LENGTH else f"{name[: _MAX_NAME_LENGTH - 1]}…"
