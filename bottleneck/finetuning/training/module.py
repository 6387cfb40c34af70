"""What a training starts from: the pretrained tail, and an output that is fitted or new."""

import copy
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from bottleneck.backbones import Tail
from bottleneck.finetuning.options import TuneOptions
from bottleneck.fitting import CrossValidation, Head, SearchOptions
from bottleneck.linear import ClassifierOptions, TrainingSet, expand_binary, train

# Of the codes that an output is fitted to. One that is fitted to standardised codes has its largest
# weights on the features that vary least, which change first when the layers before it are trained:
# with batch norm's own statistics such a training diverges (docs/tuning.md).
_SCALING = "none"

_FLOAT32: Any = {"dtype": torch.float32, "device": "cpu"}  # whatever the process's defaults are


class TunedModule(nn.Module):
    """The layers after a cached one, with a new output in place of the network's classifier.

    Parameters
    ----------
    tail : Tail
        From maps to codes; it becomes part of this module.
    classes : int
        Number of classes or labels, k.
    hidden : int
        New units between the codes and the output; 0 for none.

    Attributes
    ----------
    tail : Tail
    dropout : nn.Dropout
        Of the codes, at the rate of the network's own classifier.
    output : nn.Module
        From codes to logits.
    centre : Tensor, shape (features,)
        What dropout puts in place of a code's values: zeros, or for an output that is fitted their
        means. Zeros are far from the codes that it was fitted to, and the first steps would be too.
    """

    centre: Tensor

    def __init__(self, tail: Tail, *, classes: int, hidden: int = 0) -> None:
        super().__init__()
        self.tail = tail
        self.dropout = nn.Dropout(tail.dropout)
        last = nn.Linear(hidden or tail.features, classes, **_FLOAT32)
        first = [nn.Linear(tail.features, hidden, **_FLOAT32), nn.ReLU()] if hidden else []
        self.output = nn.Sequential(*first, last) if hidden else last
        self.register_buffer("centre", torch.zeros(tail.features, **_FLOAT32), persistent=False)

    @property
    def last(self) -> nn.Linear:
        """The layer whose outputs are the logits."""
        *_, last = (part for part in self.output.modules() if isinstance(part, nn.Linear))
        return last

    def forward(self, maps: Tensor) -> Tensor:
        """Return logits, shape (n, k), of maps, shape (n, C, H, W)."""
        codes = self.tail(maps)
        if self.training:
            codes = self.centre + self.dropout(codes - self.centre)
        logits: Tensor = self.output(codes)
        return logits


def start_module(
    tail: Tail, codes: TrainingSet, options: TuneOptions, *, c: float = 1.0
) -> TunedModule:
    """Return a module to train: a copy of the tail, and an output fitted to these rows, or new.

    Parameters
    ----------
    tail : Tail
        The pretrained tail; it is not changed.
    codes : TrainingSet
        What it gives for the rows to train on, and for no others: `tail_codes`. An output that had
        been fitted to rows that are kept back would look perfect on them.
    options : TuneOptions
    c : float
        Weight of the softmax head's loss against its penalty.

    Returns
    -------
    TunedModule
        With ``init="head"``, its logits are the decision values of the softmax head.

    Raises
    ------
    LabelsError
        With several labels an image, all rows have the same ones.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(options.seed)
        module = TunedModule(copy.deepcopy(tail), classes=codes.classes, hidden=options.units)
    last = module.last
    with torch.no_grad():
        last.weight.zero_()
        last.bias.zero_()
        if options.init == "head":
            weight, bias, mean = fit_output(codes, c=c, class_weight=options.class_weight)
            module.centre.copy_(torch.from_numpy(mean))
            last.weight.copy_(torch.from_numpy(weight))
            last.bias.copy_(torch.from_numpy(bias))
    return module


def install_head(module: TunedModule, head: Head) -> None:
    """Let the output of a module that is not trained be a head on the tail's codes.

    Parameters
    ----------
    module : TunedModule
        Without hidden units. Its logits become the head's.
    head : Head
        Of standardised codes of the tail's last layer; a softmax.
    """
    assert head.scaler.name == "standardize", head.scaler.name
    # With its temperature: the scores of a tail are log-probabilities.
    slope = head.calibration.slope if head.calibration else np.ones(len(head.coef))
    weight = slope[:, None] * head.coef / head.scaler.scale
    bias = slope * head.intercept - weight @ head.scaler.mean
    with torch.no_grad():
        module.last.weight.copy_(torch.from_numpy(weight))
        module.last.bias.copy_(torch.from_numpy(bias))


def choose_output_c(codes: TrainingSet, options: TuneOptions) -> float:
    """Choose the C of an output that is fitted to codes, by cross-validation.

    Parameters
    ----------
    codes : TrainingSet
        What the pretrained tail gives for the training rows.
    options : TuneOptions

    Returns
    -------
    float
        1 where the output is not fitted.

    Raises
    ------
    LabelsError
        A class has too few images or groups for two folds.
    """
    if options.init != "head":
        return 1.0
    softmax = ClassifierOptions("softmax", class_weight=options.class_weight)
    return CrossValidation(codes, softmax, SearchOptions(scaling=_SCALING)).select().best.c


def fit_output(
    codes: TrainingSet, *, c: float, class_weight: Any = None
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Fit a softmax head to codes, and return weights for the unscaled codes.

    Parameters
    ----------
    codes : TrainingSet
    c : float
        Weight of the loss against the penalty, above 0.
    class_weight : None or "balanced"

    Returns
    -------
    weight : ndarray of float64, shape (k, d)
    bias : ndarray of float64, shape (k,)
    mean : ndarray of float64, shape (d,)
        Of the codes.

    Examples
    --------
    >>> from bottleneck.linear import ArrayMatrix
    >>> rows = np.array([[0.0, 1.0], [1.0, 0.0], [4.0, 5.0], [5.0, 4.0]])
    >>> codes = TrainingSet(ArrayMatrix(rows), np.array([0, 0, 1, 1]), classes=2)
    >>> weight, bias, mean = fit_output(codes, c=1.0)
    >>> (rows @ weight.T + bias).argmax(axis=1).tolist()
    [0, 0, 1, 1]
    """
    softmax = ClassifierOptions("softmax", class_weight=class_weight)
    _, solution = train(codes, softmax, c=c, scaling=_SCALING)
    coef, intercept = solution.coef, solution.intercept
    if codes.classes == 2 and not codes.multilabel:
        coef, intercept = expand_binary("softmax", coef, intercept)
    return coef, intercept, codes.fit_scaler("standardize").mean
