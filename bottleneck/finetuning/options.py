"""Options of training the layers after a cached one."""

import math
from dataclasses import dataclass
from numbers import Real
from typing import Literal

from bottleneck.errors import InvalidOptionError
from bottleneck.runtime import (
    keep_python_numbers,
    require_one_of,
    require_positive,
    require_positive_or_none,
    require_seed,
)

INITS = ("head", "fresh", "mlp")
OPTIMIZERS = ("adamw", "sgd")
BATCH_NORMS = ("keep", "train")
PRECISIONS = ("float32", "bfloat16")

# Blood cells, 259 images kept back, one seed, bfloat16. SqueezeNet behind features.11, 15 epochs:
# the head 0.79; AdamW at 3e-4, 1e-3, 3e-3 0.86, 0.86, 0.88; SGD at 3e-2 0.86. Lite0 behind
# blocks.4, 8 epochs: the head 0.87; AdamW at 3e-4 and 1e-3 0.95 and 0.90.
_LR = {"adamw": 3e-4, "sgd": 1e-2}
_WEIGHT_DECAY = {"adamw": 0.05, "sgd": 5e-4}  # AdamW's is decoupled from the gradient
_HIDDEN = 512
_FACTORS = (0.3, 1.0, 3.0)
WHOLE_NETWORK = 0.1  # of the rate: the first layers are the most general ones
FRESH = 10.0  # times the rate, for weights that start from random numbers or zeros


@dataclass(frozen=True)
class TuneOptions:
    """How the layers after a cached one are trained, validated when created.

    Attributes
    ----------
    init : str
        Start of the new output. ``"head"``: the softmax head fitted to the frozen network's codes
        (A. Kumar et al., "Fine-tuning can distort pretrained features and underperform
        out-of-distribution", ICLR 2022). ``"fresh"``: zeros. ``"mlp"``: a layer of `hidden` new
        units in front, both of them new. All layers before it start from the pretrained weights.
    hidden : int, optional
        Units of ``"mlp"``, and of no other start: 512 unless given.
    optimizer : str
        ``"adamw"`` (I. Loshchilov and F. Hutter, 2019) or ``"sgd"`` with momentum 0.9.
    lr : float, optional
        Largest learning rate of pretrained weights and of a fitted head. New weights have ten times
        as much. Chosen from three unless given.
    epochs : int
        Epochs of the learning rate's schedule.
    patience : int, optional
        Epochs without a better one on images kept back after which a trial stops, and the last
        training has as many epochs as were best. All epochs unless given.
    batch_size : int
    weight_decay : float, optional
        Not applied to biases and norms. 0.05 for AdamW and 5e-4 for SGD unless given.
    batch_norm : str
        ``"keep"`` normalises by the statistics of the pretrained network, ``"train"`` by those of
        the batch, and updates the network's.
    precision : str
        ``"float32"``, or ``"bfloat16"`` for convolutions and products, with weights in float32.
        A device whose hardware has no bfloat16 computes in float32.
    class_weight : None or "balanced"
        ``"balanced"`` gives every class the same total weight.
    seed : int
        Of the order of the images, of dropout, and of new weights.
    device : str or torch.device
        ``"auto"``, ``"cpu"``, ``"cuda"`` or ``"cuda:N"``.

    Raises
    ------
    InvalidOptionError
        A value is not allowed.

    Examples
    --------
    >>> [round(lr, 6) for lr in TuneOptions().rates()]
    [9e-05, 0.0003, 0.0009]
    >>> TuneOptions(lr=0.0)
    Traceback (most recent call last):
    bottleneck.errors.InvalidOptionError: `lr=0.0`: must be a finite number above 0
    """

    init: str = "head"
    hidden: int | None = None
    optimizer: str = "adamw"
    lr: float | None = None
    epochs: int = 30
    patience: int | None = None
    batch_size: int = 32
    weight_decay: float | None = None
    batch_norm: str = "keep"
    precision: str = "float32"
    class_weight: Literal["balanced"] | None = None
    seed: int = 0
    device: str = "auto"

    def __post_init__(self) -> None:
        keep_python_numbers(self)
        require_one_of("init", self.init, INITS)
        require_one_of("optimizer", self.optimizer, OPTIMIZERS)
        require_one_of("batch_norm", self.batch_norm, BATCH_NORMS)
        require_one_of("precision", self.precision, PRECISIONS)
        require_one_of("class_weight", self.class_weight, ("balanced", None))
        for name in ("epochs", "batch_size"):
            require_positive(name, getattr(self, name))
        for name in ("hidden", "patience"):
            require_positive_or_none(name, getattr(self, name))
        if self.batch_norm == "train" and self.batch_size < 3:  # of 3 images, 2 leave one alone
            size = self.batch_size
            raise InvalidOptionError("batch_size", size, "at least 3 with `batch_norm=train`")
        if self.hidden is not None and self.init != "mlp":
            raise InvalidOptionError("hidden", self.hidden, "given with `init=mlp`")
        if self.lr is not None and not (
            isinstance(self.lr, Real) and math.isfinite(self.lr) and self.lr > 0
        ):
            raise InvalidOptionError("lr", self.lr, "a finite number above 0")
        if not (isinstance(self.decay, Real) and math.isfinite(self.decay) and self.decay >= 0):
            raise InvalidOptionError("weight_decay", self.decay, "a finite number, 0 or more")
        require_seed(self.seed)
        object.__setattr__(self, "device", str(self.device))  # the name of a torch.device

    @property
    def units(self) -> int:
        """Units of the new hidden layer before the output; 0 if there is none."""
        if self.init != "mlp":
            return 0
        return _HIDDEN if self.hidden is None else self.hidden

    @property
    def decay(self) -> float:
        """The weight decay: that which was given, or the optimizer's."""
        given = self.weight_decay
        return _WEIGHT_DECAY[self.optimizer] if given is None else given

    def rates(self, *, whole_network: bool = False) -> tuple[float, ...]:
        """Return the learning rates to try: the one that was given, or three around the default.

        Parameters
        ----------
        whole_network : bool
            Whether all layers are trained. The default is a tenth then.

        Examples
        --------
        >>> TuneOptions(lr=0.001).rates()
        (0.001,)
        """
        if self.lr is not None:
            return (self.lr,)
        scale = WHOLE_NETWORK if whole_network else 1.0
        return tuple(_LR[self.optimizer] * scale * factor for factor in _FACTORS)
