"""What the files of tuned tails say of their training, beside linear heads on the same images."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from bottleneck.advising.comparison import Comparison
from bottleneck.advising.strategies import SEARCH, LinearStrategy
from bottleneck.cache import PARSE_ERRORS
from bottleneck.errors import HeadError
from bottleneck.fitting import make_folds, resampled_scores
from bottleneck.linear import TrainingSet
from bottleneck.runtime import escape_unprintable, format_names

if TYPE_CHECKING:
    from bottleneck.finetuning import TunedTail

_UNREADABLE = "not comparable, its record of the training is not one of `bottleneck.tune`"


@dataclass(frozen=True)
class TunedStrategy:
    """A tuned tail or network, as its training recorded it.

    Attributes
    ----------
    path : str
        Its file.
    boundary : str or None
        Layer behind which it was trained; None for a whole network.
    kept_back : float or None
        Score on the training images that were kept back from its training, to choose learning rate
        and epochs by them: a little too high for that. None where it is not compared.
    images : int
        Number of images that were kept back.
    linear : float or None
        Score of the best linear head on the same images, which are its first fold. None where it is
        not compared.
    standard_error : float
        Of the difference to the linear head, as if the two were of different images: too large.
    heldout : dict or None
        Score on the held-out split, as its record has it; it takes no part in any choice.
    seconds : float
        Time of its training, without the extraction of maps.
    reason : str
        Why it is not compared; empty where it is.
    """

    path: str
    boundary: str | None
    kept_back: float | None
    images: int
    linear: float | None
    standard_error: float
    heldout: dict[str, Any] | None
    seconds: float
    reason: str

    @property
    def name(self) -> str:
        """What was trained."""
        what = f"tail behind {self.boundary}" if self.boundary else "whole network"
        return escape_unprintable(f"{what} ({self.path})")

    @property
    def gain(self) -> float | None:
        """By how much it beats the best linear head on the images that were kept back."""
        if self.kept_back is None or self.linear is None:
            return None
        return self.kept_back - self.linear

    @property
    def better(self) -> bool:
        """Whether it beats the best linear head by more than a standard error."""
        return self.gain is not None and self.gain > self.standard_error

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        values = asdict(self)
        return {"file": values.pop("path"), **values}


def load_tails(
    paths: str | PathLike[str] | Sequence[str | PathLike[str]], names: Sequence[str]
) -> dict[Path, "TunedTail"]:
    """Read tuned tails, and refuse those of other classes.

    Parameters
    ----------
    paths : str, PathLike or sequence of them
        Files of `bottleneck.tune`.
    names : sequence of k str
        Class names of the cache.

    Raises
    ------
    HeadError
        A file is no tuned tail, or is one of other classes.
    """
    if not paths:
        return {}
    from bottleneck.finetuning import TunedTail  # loads PyTorch

    given = [paths] if isinstance(paths, str | PathLike) else paths
    tails = {Path(path): TunedTail.load(path) for path in given}
    for path, tail in tails.items():
        if tail.classes != list(names):
            raise HeadError(
                f"{path} was tuned for the classes {format_names(tail.classes)}, and the cache's "
                f"are {format_names(names)}: give tails of the same labels"
            )
    return tails


def compare_tail(
    path: Path, tail: "TunedTail", training: TrainingSet, digest: str, comparison: Comparison
) -> TunedStrategy:
    """Compare a tail, by its record, with the best linear head.

    A tail keeps back the first of the folds by which linear heads are judged, if it was trained on
    the same images: both are scored on the same ones then.

    Parameters
    ----------
    path : Path
        The tail's file.
    tail : TunedTail
    training : TrainingSet
        Training images.
    digest : str
        Of these, with their targets and groups.
    comparison : Comparison
        Linear heads on them.
    """
    recorded = _recorded(tail, digest)
    _, fold = make_folds(training, SEARCH.cv)[0]
    linear, error = _linear_score(comparison.best, training, fold)
    return TunedStrategy(
        path=str(path),
        boundary=tail.boundary,
        linear=None if recorded["reason"] else linear,
        standard_error=math.sqrt(2) * error,
        **recorded,
    )


def _recorded(tail: "TunedTail", digest: str) -> dict[str, Any]:
    """Return what a tail's record says of its training, and why it is not compared."""
    record = tail.training_record
    try:  # one of another program may be anything
        choice, heldout = record.get("choice") or {}, record.get("heldout")
        reason = _not_compared(tail, digest)
        return {
            "kept_back": None if reason else _kept_back_score(choice),
            "images": int(choice.get("kept_back") or 0),
            "heldout": heldout and {**heldout, "accuracy": float(heldout["accuracy"])},
            "seconds": float(record.get("seconds") or 0.0),
            "reason": reason,
        }
    except PARSE_ERRORS:
        nothing = dict.fromkeys(("kept_back", "heldout"))
        return {**nothing, "images": 0, "seconds": 0.0, "reason": _UNREADABLE}


def _not_compared(tail: "TunedTail", digest: str) -> str:
    """Return why a tail is not compared with a linear head; empty if it is compared."""
    record = tail.training_record
    if record.get("train_digest") != digest:
        return "not comparable, no record of a training on these images"
    if record["class_weight"] and not tail.multilabel:
        return "not comparable, its score is the balanced accuracy"
    if not record["choice"]["epochs"]:  # its output is another head than the one that was scored
        return "training was no better than its start: its layers are as pretrained"
    return ""


def _kept_back_score(choice: dict[str, Any]) -> float | None:
    """Return the score by which learning rate and epochs were chosen."""
    for trial in choice.get("trials") or []:
        for scores in trial["curves"]:
            if (trial["lr"], scores["epoch"]) == (choice["lr"], choice["epochs"]):
                score = scores["kept_back_score"]
                return None if score is None else float(score)
    return None


def _linear_score(
    strategy: LinearStrategy, training: TrainingSet, fold: NDArray[np.int64]
) -> tuple[float, float]:
    """Return the score of a linear head on a fold, and its standard error."""
    scores = resampled_scores(
        [[strategy.values[fold]]],
        training.targets[fold],
        training.classes,
        groups=None if training.groups is None else training.groups[fold],
    )
    return float(scores[0, 0]), float(np.std(scores[1:, 0], ddof=1))
