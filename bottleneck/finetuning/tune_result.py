"""Result of training the layers behind a boundary: beside the linear head, and which to take."""

from dataclasses import dataclass, replace
from typing import Any, Self

from bottleneck.data import LabelSummary
from bottleneck.finetuning.training.choice import Choice
from bottleneck.finetuning.training.run import TrainingRun
from bottleneck.finetuning.tuned_tail import TunedTail
from bottleneck.fitting import FitResult, PairedComparison, Score, format_no_heldout
from bottleneck.runtime import PreformattedText, format_duration, format_rejected, format_table


@dataclass(frozen=True, eq=False)
class TuneResult(PreformattedText):
    """Result of `bottleneck.tune`. Printed, it is the text that ``bottleneck tune`` prints.

    Attributes
    ----------
    tail : TunedTail
        The trained layers with their new output.
    heldout : ClassificationScore, MultilabelScore or None
        Its score on the held-out split; None without one.
    linear : FitResult
        The softmax head on the same layers' codes as they were pretrained, fitted to the same
        images and scored on the same.
    comparison : PairedComparison or None
        How the tail differs from the linear head on the held-out images.
    choice : Choice
        Learning rate and epochs, and the trials that they were chosen by.
    run : TrainingRun
        The training on all training images.
    train : int
        Number of training images.
    train_digest : str
        Digest of the training images by path, with their classes and groups.
    seconds : float
        Elapsed time.
    labels : LabelSummary or None
        What was understood of the CSV of labels; None for the images' own labels.
    rejected : dict of str to str
        Labelled images that could not be read, by path, and why.

    Examples
    --------
    >>> import bottleneck as bn  # doctest: +SKIP
    >>> result = bn.tune("maps.cache", layer="features.11")  # doctest: +SKIP
    >>> result.score, result.linear.score  # doctest: +SKIP
    (0.93, 0.88)
    """

    tail: TunedTail
    heldout: Score | None
    linear: FitResult
    comparison: PairedComparison | None
    choice: Choice
    run: TrainingRun
    train: int
    train_digest: str
    seconds: float
    labels: LabelSummary | None
    rejected: dict[str, str]

    @property
    def score(self) -> float | None:
        """Held-out accuracy; None without a held-out split."""
        return None if self.heldout is None else self.heldout.accuracy

    @property
    def better(self) -> bool | None:
        """Whether the tail is to be taken; None where no images judged it.

        It is taken if it is better on the held-out images by more than chance. Otherwise the linear
        head is taken, which is smaller and faster.
        """
        if self.comparison is None:
            return None
        return self.comparison.significant and self.comparison.gained > self.comparison.lost

    @property
    def verdict(self) -> str:
        """One sentence which of the two to take, and why."""
        if self.comparison is None or self.heldout is None or self.linear.heldout is None:
            none = format_no_heldout(self.linear.no_heldout)
            return f"{none}: nothing says whether to take it in place of the linear head"
        if not self.comparison.significant:
            found = "they differ by what may be chance"
            if not self.comparison.gained + self.comparison.lost:
                found = "they are right on the same ones"
            return f"take the linear head: on {self.heldout.n} images {found}, and it is smaller"
        points = 100 * abs(self.heldout.accuracy - self.linear.heldout.accuracy)
        which = "the tuned tail" if self.better else "the linear head"
        return f"take {which}: it is better by {points:.1f} points, which is more than chance"

    def with_seconds(self, seconds: float) -> Self:
        """Return a copy with this time, and with the result as the tail's training record."""
        timed = replace(self, seconds=seconds)
        return replace(timed, tail=replace(self.tail, training_record=timed.record()))

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, as ``tune`` prints them as JSON with the file name of the tail.

        The keys are those of ``fit``, those without a meaning here null, and more.
        """
        scores = {"heldout": self.heldout, "linear": self.linear.heldout}
        return self.record() | {key: score and score.to_dict() for key, score in scores.items()}

    def record(self) -> dict[str, Any]:
        """Return plain values without confusion matrices, as the tail keeps them."""
        features, linear = self.tail.features, self.linear.heldout
        return {
            "clf": "tail",
            "layer": self.tail.boundary,
            "layers": [self.tail.boundary] if self.tail.boundary else [],
            "views": features.views,
            "shares": None,
            "c": None,
            "preprocess": None,
            "class_weight": self.linear.class_weight,
            "cv": None,
            "nested": None,
            "heldout": self.heldout.record() if self.heldout else None,
            "no_heldout": self.linear.no_heldout,
            "ece": None,
            "train": self.train,
            "train_digest": self.train_digest,
            "converged": True,
            "gap": None,
            "seconds": self.seconds,
            "lr": self.choice.lr,
            "epochs": self.choice.epochs,
            "parameters": self.tail.parameters,
            "recipe": self.tail.recipe,
            "choice": self.choice.to_dict(),
            "run": self.run.to_dict(),
            "linear": linear.record() if linear else None,
            "comparison": self.comparison.to_dict() if self.comparison else None,
            "verdict": self.verdict,
            "rejected": self.rejected,
            **({"labels": self.labels.to_dict()} if self.labels else {}),
        }

    def __str__(self) -> str:
        """Format the labels, the choice, the training, both scores and which to take."""
        labels = [str(self.labels), ""] if self.labels else []
        return "\n".join([*labels, *self._lines(), *self.remarks])

    def format(self, saved: str) -> str:
        """Format the result without the labels, and say where the tail is before the remarks."""
        return "\n".join([*self._lines(), saved, *self.remarks])

    @property
    def remarks(self) -> list[str]:
        """The lines that say which images were not judged or not read; none if all were."""
        return (self.heldout.remarks if self.heldout else []) + format_rejected(self.rejected)

    def _lines(self) -> list[str]:
        tail, choice = self.tail, self.choice
        what = f"tail behind {tail.boundary}" if tail.boundary else "whole network"
        views = f", {tail.features.views} views" if tail.features.views > 1 else ""
        lines = [
            self.format_trials(),
            "",
            f"{what}{views}: {self.train} images of {len(tail.classes)} classes, "
            f"{tail.parameters} parameters, precision {tail.recipe['precision']}, learning rate "
            f"{choice.lr:.2g}, {choice.epochs} epochs in {format_duration(self.run.seconds)}",
        ]
        if limit := self.run.max_batch_size:
            lines.append(
                f"memory: the device holds {limit} images of a step at a time, larger batches were "
                "divided; the steps are those of whole batches"
            )
        if not choice.epochs:
            lines.append(
                "training was no better than its start: the layers stay as they were, with the "
                "linear head as their output"
            )
        if self.heldout is None or self.linear.heldout is None:
            return [*lines, self.verdict]
        head = f"linear head on {self.linear.head.features.layers[0]}"
        first, *_ = str(self.linear.heldout).splitlines()
        lines += [self.heldout.format(), f"{head}, as pretrained: {first}"]
        return [*lines, f"the tail is {self.comparison}", self.verdict]

    def format_trials(self) -> str:
        """Format the trial of each learning rate: the epoch that counts, and its scores."""
        start = self.choice.start
        rows = [["0", "0", *_scores(start), "the start"]]
        for run in self.choice.runs:
            best = run.best
            note = "diverged" if run.diverged else ""
            chosen = "chosen" if run.lr == self.choice.lr and self.choice.epochs else note
            epochs = [f"{best.epoch} of {len(run.curves) - 1}", *_scores(best)]
            rows.append([f"{run.lr:.2g}", *(["-"] * 3 if run.diverged else epochs), chosen])
        columns = ["learning rate", "epoch", "kept back", "loss", ""]
        lines = [
            format_table(columns, rows),
            f"({self.choice.kept_back} of {self.train} training images kept back)",
        ]
        if repeats := self.choice.repeats:
            before, after = (", loss ".join(_scores(one)) for one in (repeats.start, repeats.end))
            lines.append(
                f"{repeats.images} kept back in turn: the start {before}; "
                f"learning rate {self.choice.lr:.2g} {after}"
            )
        return "\n".join(lines)

    def __repr__(self) -> str:
        """Return a short description."""
        return f"<TuneResult: tail behind {self.tail.boundary}, score {self.score}>"


def _scores(scores: Any) -> list[str]:
    score, loss = scores.kept_back_score, scores.kept_back_loss
    return ["-" if score is None else f"{score:.1%}", "-" if loss is None else f"{loss:.3f}"]
