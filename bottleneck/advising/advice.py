"""The advice: what was examined and measured, the recommendation, the calls that carry it out."""

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from bottleneck.advising.comparison import Comparison
from bottleneck.advising.nearest import NEIGHBOURS
from bottleneck.advising.rule import Decision, Findings
from bottleneck.advising.steps import Step
from bottleneck.advising.strategies import CLASSIFIER, SEARCH, LinearStrategy
from bottleneck.advising.tuned import TunedStrategy
from bottleneck.data import LabelSummary
from bottleneck.fitting import format_metric
from bottleneck.pooling import split_pooled_name
from bottleneck.runtime import (
    PreformattedText,
    escape_unprintable,
    format_count,
    format_duration,
    format_table,
)


@dataclass(frozen=True)
class Examined:
    """What the measurements are of.

    Attributes
    ----------
    cache : str
        Path of the cache.
    images : int
        Training images.
    classes : int
    groups : int or None
        Groups of the training images, which folds keep together; None where they have none.
    layers : tuple of str
    views : int
    heldout : int
        Images of the held-out split, which were not looked at.
    split : str
        Its name; empty without one.
    pool : str
        How codes are pooled whose layers' names have no pooling of their own, as a `Spec` has it.
    """

    cache: str
    images: int
    classes: int
    groups: int | None
    layers: tuple[str, ...]
    views: int
    heldout: int
    split: str
    pool: str

    def __str__(self) -> str:
        groups = f" in {self.groups} groups" if self.groups is not None else ""
        layers = format_count(len(self.layers), "layer")
        views = f", {self.views} views" if self.views > 1 else ""
        unseen = ""
        if self.split:
            unseen = f"; {self.heldout} images of {self.split} were not looked at"
        return (
            f"examined: {self.images} training images of {self.classes} classes{groups}, "
            f"{layers}{views}, in {escape_unprintable(self.cache)}{unseen}"
        )

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {
            "cache": self.cache,
            "train": self.images,
            "classes": self.classes,
            "groups": self.groups,
            "layers": list(self.layers),
            "views": self.views,
            "heldout": self.heldout,
            "split": self.split,
            "pool": self.pool,
        }


@dataclass(frozen=True, eq=False)
class Advice(PreformattedText):
    """Result of `bottleneck.advise`. Printed, it is the text that ``bottleneck advise`` prints.

    Attributes
    ----------
    examined : Examined
    comparison : Comparison
        Every linear strategy with its out-of-fold score.
    findings : Findings
        Learning curve, gap, nearest neighbours.
    tuned : tuple of TunedStrategy
        Tuned tails that were given.
    decision : Decision
        The recommendation.
    steps : tuple of Step
        The calls that carry it out.
    seconds : float
        Elapsed time.
    summary : LabelSummary or None
        What was understood of the CSV of labels; None for the cache's own.

    Examples
    --------
    >>> import bottleneck as bn  # doctest: +SKIP
    >>> advice = bn.advise("photos.cache")  # doctest: +SKIP
    >>> advice.decision.measured, [step.verb for step in advice.steps]  # doctest: +SKIP
    (True, ['fit'])
    """

    examined: Examined
    comparison: Comparison
    findings: Findings
    tuned: tuple[TunedStrategy, ...]
    decision: Decision
    steps: tuple[Step, ...]
    seconds: float
    summary: LabelSummary | None = None

    def __repr__(self) -> str:
        """Return a short description."""
        examined = self.examined
        steps = ", ".join(step.verb for step in self.steps) or "nothing to do"
        return f"<Advice on {examined.images} images in {examined.cache}: {steps}>"

    @property
    def metric(self) -> str:
        """Name of the metric of all scores."""
        return self.findings.curve.metric

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, as ``advise`` prints them as JSON."""
        decision = self.decision
        return {
            "examined": self.examined.to_dict(),
            "metric": self.metric,
            "strategies": [self._strategy(one) for one in self.comparison.strategies],
            "findings": self.findings.to_dict(),
            "tuned": [one.to_dict() for one in self.tuned],
            "recommendation": {
                "kind": decision.kind,
                "measured": decision.measured,
                "linear": decision.linear.name,
                "tuned": decision.tuned.path if decision.tuned else None,
                "gain": decision.gain.to_dict(),
                "pairs": decision.pairs.to_dict() if decision.pairs else None,
                "text": self.recommendation,
            },
            "not_measured": self.not_measured,
            "steps": [step.to_dict() for step in self.steps],
            "seconds": self.seconds,
        }

    def _strategy(self, one: LinearStrategy) -> dict[str, Any]:
        return {
            "name": one.name,
            "layers": list(one.features.layers),
            "views": one.features.views,
            "work": one.cost,
            "size": one.size,
            "c": one.cv.c,
            "score": self.comparison.score(one),
            "standard_error": self.comparison.standard_error(one),
            "gain": self.comparison.gain(one, self.comparison.last).to_dict(),
            "seconds": one.seconds,
            "recommended": one is self.decision.linear,
        }

    def __str__(self) -> str:
        """Format the labels and everything else, with the calls in Python."""
        labels = f"{self.summary}\n\n" if self.summary else ""
        return labels + self.format([str(step) for step in self.steps])

    def format(self, commands: Sequence[str]) -> str:
        """Format what was examined and measured, the recommendation, and commands.

        Parameters
        ----------
        commands : sequence of str
            Those that carry out `steps`, in their order.
        """
        lacking = "not measured: " + "; ".join(self.not_measured)
        sections = [
            f"{self.examined}\n{_METHOD}",
            self._table(),
            "\n".join(self._measurements()),
            _wrap(f"recommendation: {self.recommendation}"),
            f"{_wrap(lacking)}\nmeasured in {_seconds(self.seconds)}; the cache was only read",
            "\n".join(f"  {command}" for command in commands),
        ]
        return "\n\n".join(sections)

    def _table(self) -> str:
        rows, last = [], self.comparison.last
        for one in self.comparison.strategies:
            gain, mark = "", "*" if one is self.decision.linear else ""
            if one is not last:
                found = self.comparison.gain(one, last)
                gain = f"{100 * found.value:+.1f} ± {100 * found.standard_error:.1f}"
            cost = "-" if one.cost is None else f"{one.cost:.0%}"
            score = f"{self.comparison.score(one):.1%}"
            rows.append([one.name, cost, score, gain, f"{one.seconds:.1f}", mark])
        columns = [format_metric(self.metric), f"over {last.name}", "seconds", ""]
        return format_table(["linear head on", "network", *columns], rows)

    def _measurements(self) -> list[str]:
        found, chosen = self.findings, self.decision.linear
        plain = self.comparison.counterpart(chosen)
        score = self.comparison.score(chosen)
        lines = [
            *self._depth(),
            f"learning curve on {plain.name}: {found.curve}",
            f"training images {found.training_score:.1%}, out-of-fold {score:.1%}: "
            f"a gap of {100 * found.gap:.1f} points",
        ]
        if found.neighbours is not None:
            lines.append(self._neighbours(found.neighbours))
        return [*lines, *map(self._tuned, self.tuned)]

    def _depth(self) -> list[str]:
        if self.findings.unlike is None:
            return []
        best, last = self.comparison.best_layer, self.comparison.best_last
        where = "" if best.cost is None else f", at {best.cost:.0%} of the network"
        line = f"the best layer alone is {best.name}{where}; "
        if not self.findings.unlike:
            return [line + f"earlier layers add nothing to {last.name} beyond chance"]
        best_plain = max(self.comparison.earlier, key=self.comparison.score)
        gain = self.comparison.gain(best_plain, last)
        return [
            f"{line}earlier layers are worth {100 * gain.value:.1f} points over {last.name}: the "
            "images, or what is asked of them, are unlike those that the network was trained on"
        ]

    def _neighbours(self, score: float) -> str:
        best = self.comparison.best_layer
        others = "" if self.examined.groups is None else " of other groups"
        line = f"{NEIGHBOURS} nearest neighbours{others} at {best.name}: {score:.1%}"
        linear, error = self.comparison.score(best), self.comparison.standard_error(best)
        # Of maps a linear head learns less than neighbours tell, without any copies.
        pool = split_pooled_name(best.features.layers[0])[1] or self.examined.pool
        if score <= linear + _ODD_ERRORS * error or pool == "none":
            return line
        return (
            f"{line}, more than the head there: copies of one picture may be in several folds "
            "(`bottleneck.audit` looks for them)"
        )

    def _tuned(self, one: TunedStrategy) -> str:
        heldout = "no held-out score"
        if one.heldout:
            heldout = f"held-out {one.heldout['accuracy']:.1%}, from its record and not used here"
        if one.reason:
            return f"{one.name}: {one.reason}; {heldout}"
        return (
            f"{one.name}: {one.kept_back:.1%} of the {one.images} images that it kept back, "
            f"{self.comparison.best.name} {one.linear:.1%} of the same "
            f"(± {100 * one.standard_error:.1f} points); {heldout}; "
            f"{format_duration(one.seconds)}"
        )

    @property
    def recommendation(self) -> str:
        """What is recommended, why, what it is worth and what it costs, in a few sentences."""
        decision, comparison = self.decision, self.comparison
        linear = f"the linear head on {decision.linear.name}"
        if decision.tuned:
            tuned = decision.tuned
            return (
                f"{tuned.name}. On the {tuned.images} training images that it kept back it is "
                f"{100 * (tuned.gain or 0):.1f} points ± {100 * tuned.standard_error:.1f} above "
                f"the best linear head, that on {comparison.best.name}. Its training took "
                f"{format_duration(tuned.seconds)}, without the extraction of maps."
            )
        if decision.measured:
            return f"{linear}. {self._reason()} {self._worth()}"
        until = f"Of what was measured take {linear}. {self._reason()} {self._worth()}"
        if decision.kind == "views":
            return (
                "add views to the cache: expected to be worth more, not measured. The images are "
                "unlike those that the network was trained on, and the head fits its training "
                "images better than others: views are more training images. On blood cells five "
                "views were worth 5 to 6 points, for five times the extraction and ten to twenty "
                "times the training. Let them change only what leaves an image's class as it is. "
                f"{until}"
            )
        return (
            "train the whole network: expected to be worth more, not measured. Twice as many "
            "images would help the linear head by less than two points, it fits its training "
            "images no better than others, and is still wrong on "
            f"{1 - comparison.score(decision.linear):.0%}: the frozen codes say no more. "
            f"It takes minutes to hours.{self._labelled_images()} {until}"
        )

    def _labelled_images(self) -> str:
        """Say that the images need the labels that were given for the cache; empty without any."""
        if self.summary is None:
            return ""
        csv = escape_unprintable(str(self.summary.csv))
        return f" Training from images takes no `labels`: give a CSV of images with those of {csv}."

    def _reason(self) -> str:
        chosen, comparison = self.decision.linear, self.comparison
        others = len(comparison.strategies) - 1
        if not others:
            return "It is the only one that the cache allows."
        if chosen is comparison.best:
            near = f"nothing cheaper is {_NEAR} of it"
            return f"It is the best of {others + 1}, and {near}."
        gain = comparison.gain(comparison.best, chosen)
        loss = f"{100 * gain.value:+.1f} ± {100 * gain.standard_error:.1f} points"
        best = f"the best of {others + 1}, {comparison.best.name} ({loss})"
        return f"It is the cheapest {_NEAR} of {best}."

    def _worth(self) -> str:
        decision, last = self.decision, self.comparison.last
        chosen = decision.linear
        cost = f"Its search took {_seconds(chosen.seconds)}"
        if chosen.cost is not None:
            share = (
                f"{chosen.cost:.0%} of a pass" if chosen.cost <= 1 else f"{chosen.cost:.1f} passes"
            )
            cost += f"; an image costs {share} through the network"
        if chosen is last:
            return f"{cost}."
        pairs = f": {decision.pairs}" if decision.pairs else ""
        of = f"the best of {len(self.comparison.strategies)} looks better than it is"
        return f"Over {last.name} alone it is worth {decision.gain}{pairs}; {of}. {cost}."

    @property
    def not_measured(self) -> list[str]:
        """What was not measured, and could change the advice."""
        lacking = []
        if self.findings.unlike is None:
            lacking.append("other layers (`bottleneck.extract` adds some to a cache)")
        if self.examined.views == 1:
            lacking.append("views (the cache has none: `bottleneck.extract` adds them)")
        if not self.tuned:
            unlike = self.findings.unlike
            worth = "" if unlike is None else _TUNING_WAS_WORTH[unlike]
            lacking.append(f"training of the network (`bottleneck.tune`, then `tuned`{worth})")
        if self.findings.neighbours is None:
            lacking.append("nearest neighbours (images have several labels)")
        return [*lacking, "the time of extraction, which a cache does not record"]


def _seconds(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds < 10 else format_duration(seconds)


def _wrap(text: str) -> str:
    """Break a paragraph into lines, at spaces alone."""
    return textwrap.fill(text, 100, break_long_words=False, break_on_hyphens=False)


# The tables of docs/accuracy.md, by whether the images are unlike those of the network.
_TUNING_WAS_WORTH = {
    True: "; on blood cells it was worth 1.7 points over all layers in five views with "
    "EfficientNet-lite0, in 5 times the time, and nothing with SqueezeNet",
    False: "; on photographs like those of the network it was worth nothing",
}
_NEAR = "within a standard error and one image, and two points,"
_ODD_ERRORS = 2  # standard errors by which neighbours alone beat a head at the same layer
_METHOD = (
    f"out-of-fold predictions of {CLASSIFIER.clf} in {SEARCH.cv} folds; ± is the standard error of "
    "the paired difference"
)
