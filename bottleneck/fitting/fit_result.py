"""Result of a fit: the head, the search that selected its C, and its score."""

from dataclasses import dataclass, replace
from os import PathLike
from typing import Any, Self

import numpy as np

from bottleneck.data import LabelSummary
from bottleneck.fitting.heads.head import Head
from bottleneck.fitting.plotting.fit_plot import fit_figure
from bottleneck.fitting.plotting.picture import output_figure
from bottleneck.fitting.scoring.judged_split import format_no_heldout
from bottleneck.fitting.scoring.metrics import format_calibration_error, format_metric
from bottleneck.fitting.scoring.scores import Score
from bottleneck.fitting.selection.folds import fewer_folds
from bottleneck.fitting.selection.nested import NestedScore, OuterFold
from bottleneck.fitting.selection.search_result import SearchResult
from bottleneck.linear import Solution
from bottleneck.runtime import PreformattedText


@dataclass(frozen=True, eq=False)
class FitResult(PreformattedText):
    """Result of `bottleneck.fit`. Printed, it is the text that ``bottleneck fit`` prints.

    Attributes
    ----------
    head : Head
        Classifier, trained on all training rows.
    c : float
        Selected C.
    search : SearchResult or None
        Search over C and scalings; None without cross-validation.
    heldout : ClassificationScore, MultilabelScore or None
        Score on the held-out split; None without one.
    ece : float or None
        Expected calibration error on the validation rows of the folds.
    train : int
        Number of training images.
    shares : dict of str to float
        Share of each layer in the decision values, in the order in which the layers were given; all
        layers of a cache by depth. See `bottleneck.fitting.layer_shares.layer_shares`.
    solution : Solution
        Final training: its convergence and its distance from the minimum.
    seconds : float
        Elapsed time.
    labels : LabelSummary or None
        What was understood of the CSV of labels; None for the cache's own labels.
    outer : tuple of OuterFold
        Outer folds of a nested cross-validation; empty without one.
    class_weight : None or "balanced"
        Class weight that it was trained with.
    no_heldout : str
        Why no split judges, where there are others beside ``train``; else empty.

    Examples
    --------
    >>> import bottleneck as bn  # doctest: +SKIP
    >>> result = bn.fit("photos.cache", "svm", layers="layer3")  # doctest: +SKIP
    >>> result.score, result.c, result.head.classes  # doctest: +SKIP
    (0.93, 0.0316, ['ants', 'bees'])
    """

    head: Head
    c: float
    search: SearchResult | None
    heldout: Score | None
    ece: float | None
    train: int
    shares: dict[str, float]
    solution: Solution
    seconds: float
    labels: LabelSummary | None = None
    outer: tuple[OuterFold, ...] = ()
    class_weight: str | None = None
    no_heldout: str = ""

    @property
    def converged(self) -> bool:
        """Whether the final training met its tolerance for every class."""
        return bool(self.solution.converged.all())

    @property
    def score(self) -> float | None:
        """Held-out accuracy; without a held-out split the folds' mean; None without either.

        The folds' mean is that of the nested cross-validation, where there is one.
        """
        if self.heldout is not None:
            return self.heldout.accuracy
        if self.nested is not None:
            return self.nested.mean
        return None if self.search is None else self.search.best.mean

    @property
    def nested(self) -> NestedScore | None:
        """Score of the choice of C and scaling; None without nested cross-validation."""
        if self.search is None or not self.outer:
            return None
        scalings = {candidate.scaling for candidate in self.search.candidates}
        return NestedScore(
            metric=self.search.metric,
            selected=self.search.best.mean,
            scores=tuple(fold.score for fold in self.outer),
            choices=tuple(f"{fold.cv.scaling}, C = {fold.cv.c:.3g}" for fold in self.outer),
            alternatives="values of C and scalings" if len(scalings) > 1 else "values of C",
        )

    def with_seconds(self, seconds: float) -> Self:
        """Return a copy with this time, and with the result as the head's training record."""
        timed = replace(self, seconds=seconds)
        return replace(timed, head=replace(self.head, training_record=timed.record()))

    def plot(self, path: str | PathLike[str] | None = None) -> Any:
        """Plot the search for C, and the confusion matrix of the held-out images.

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
            The file name has another suffix, or there is nothing to plot.
        """
        figure = fit_figure(self.head.clf, self.search, self.heldout)
        return output_figure(figure, path)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, as ``fit`` prints them as JSON with the file name of the head."""
        return self.record() | {"heldout": self.heldout.to_dict() if self.heldout else None}

    def record(self) -> dict[str, Any]:
        """Return plain values without a confusion matrix, as the head keeps them."""
        gap = float(self.solution.gap.max())
        return {
            "clf": self.head.clf,
            "layer": str(self.head.features),
            "layers": list(self.head.features.layers),
            "views": self.head.features.views,
            "shares": self.shares,
            "c": self.c,
            "preprocess": self.head.scaler.name,
            "class_weight": self.class_weight,
            "cv": self.search.summary() if self.search else None,
            "nested": self.nested.to_dict() if self.nested else None,
            "heldout": self.heldout.record() if self.heldout else None,
            "no_heldout": self.no_heldout,
            "ece": self.ece,
            "train": self.train,
            "converged": self.converged,
            "gap": gap if np.isfinite(gap) else None,
            "seconds": self.seconds,
            **({"labels": self.labels.to_dict()} if self.labels else {}),
        }

    def __str__(self) -> str:
        """Format the labels, the search, the selected C, its cross-validation and the score."""
        labels = [str(self.labels), ""] if self.labels else []
        return "\n".join([*labels, *self._lines(), *self.remarks])

    def format(self, saved: str) -> str:
        """Format the result without the labels, and say where the head is before the remarks."""
        return "\n".join([*self._lines(), saved, *self.remarks])

    @property
    def remarks(self) -> list[str]:
        """Return notes on the held-out score: images that it leaves out, or should leave out."""
        return self.heldout.remarks if self.heldout else []

    def _lines(self) -> list[str]:
        head, lines = self.head, []
        features = replace(head.features, layers=tuple(self.shares))  # as `fit` orders them
        if self.search:
            lines += [str(self.search), ""]
        lines.append(
            f"{head.clf} on {features}: {self.train} images of {len(head.classes)} classes, "
            f"codes of size {head.coef.shape[1]}, {head.scaler.name}, C = {self.c:.3g}"
        )
        if "none" in map(head.spec.pool_of, head.features.layers):
            lines.append(
                "the codes are maps, a value for each position: averages over positions, by "
                "`pool=avg` of `bottleneck.extract`, are smaller, and usually better"
            )
        if self.search:
            best = self.search.best
            lines.append(
                f"cross-validation  {format_metric(self.search.metric)} {best.mean:.1%} ± "
                f"{best.std:.1%} in {self.search.folds} folds{format_calibration_error(self.ece)}"
            )
            lines += fewer_folds(self.search.folds, self.search.asked)
            if self.search.at_edge:
                lines.append(
                    "the best C is at the edge of the grid: a better one may lie beyond it"
                )
        if len(self.shares) > 1:
            shares = (f"{layer} {share:.0%}" for layer, share in self.shares.items())
            lines.append(f"share of each layer  {', '.join(shares)}")
        if self.nested:
            lines += str(self.nested).splitlines()
        if not self.converged:
            gap = self.solution.gap.max()
            limit = f"within {gap:.1e} of" if np.isfinite(gap) else "short of"
            lines.append(f"the solver stopped {limit} its minimum: a smaller C converges sooner")
        return [*lines, self.heldout.format() if self.heldout else self._without_heldout()]

    def _without_heldout(self) -> str:
        """Return the line in place of the held-out score."""
        none = format_no_heldout(self.no_heldout)
        if self.search is None:
            return f"{none}, and no cross-validation: nothing was measured"
        folds = "nested cross-validation" if self.nested else "cross-validation"
        return f"{none}: the {folds} is all that can be said"

    def __repr__(self) -> str:
        """Return a short description."""
        return f"<FitResult: {self.head.clf} on {self.head.features}, score {self.score}>"
