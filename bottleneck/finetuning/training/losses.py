"""The loss that training minimises, and the score by which epochs are compared."""

import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from bottleneck.finetuning.loading.batches import Examples
from bottleneck.fitting import answers_of, score_answers


class Loss:
    """Mean log loss of images: of a softmax, or with several labels an image of each label.

    Parameters
    ----------
    examples : Examples
        Their targets, which a batch's index selects.
    class_weight : None or "balanced"
        ``"balanced"`` gives every class the same total weight, and with several labels an image the
        images with a label the same as those without it.
    device : torch.device
        Where the logits are.

    Attributes
    ----------
    of_guessing : float
        The loss of logits that are all zero.

    Examples
    --------
    >>> examples = Examples(None, np.arange(2), np.array([0, 1]), classes=2)
    >>> loss = Loss(examples, None, torch.device("cpu"))
    >>> round(float(loss(torch.zeros(2, 2), np.arange(2))), 3), round(loss.of_guessing, 3)
    (0.693, 0.693)
    """

    def __init__(self, examples: Examples, class_weight: str | None, device: torch.device) -> None:
        self._several = examples.multilabel
        kind = torch.float32 if self._several else torch.int64
        self._targets = torch.from_numpy(examples.targets).to(device, kind)
        weights = _weights(examples.targets, examples.classes, class_weight)
        self._weights = torch.from_numpy(weights).to(device, torch.float32)
        self.of_guessing = math.log(2 if self._several else examples.classes)

    def __call__(self, logits: Tensor, index: NDArray[np.int64]) -> Tensor:
        """Return the mean loss of some images, by their index into the examples."""
        some = torch.from_numpy(index).to(logits.device)
        targets = self._targets[some]
        if self._several:
            each = F.binary_cross_entropy_with_logits(logits, targets, reduction="none")
        else:
            each = F.cross_entropy(logits, targets, reduction="none")
        return (self._weights[some] * each).mean()


def score(values: NDArray[np.float64], examples: Examples, class_weight: str | None) -> float:
    """Return the accuracy of logits: balanced where classes have the same weight.

    With several labels an image it is the mean average precision.

    Parameters
    ----------
    values : ndarray of float64, shape (n, k)
        Logits, finite.
    examples : Examples
    class_weight : None or "balanced"
    """
    found = answers_of(values, multilabel=examples.multilabel)
    metric = "accuracy" if class_weight is None else "balanced"
    return score_answers(examples.targets, found, examples.classes, metric)


def _weights(targets: NDArray[Any], classes: int, class_weight: str | None) -> NDArray[np.float64]:
    """Return the weight of each image, or of each label of each image; 1 on average."""
    if class_weight is None:
        return np.ones(targets.shape)
    if targets.ndim == 1:
        counts = np.bincount(targets, minlength=classes)
        of_class: NDArray[np.float64] = len(targets) / (classes * np.maximum(counts, 1))
        return np.asarray(of_class[targets])
    having = np.clip(targets.sum(axis=0), 1, max(1, len(targets) - 1))
    return np.asarray(len(targets) / (2 * np.where(targets, having, len(targets) - having)))
