"""The exported module: from decoded images to scores and labels, in float32."""

import math
from typing import Any, cast

import torch
from torch import Tensor, nn

from bottleneck.backbones import Backbone
from bottleneck.finetuning import TunedTail
from bottleneck.fitting import INPUT, Classifier, Head
from bottleneck.linear import Calibration, FeatureScaler, column_blocks
from bottleneck.prediction import FLOAT, ExportMetadata


class ExportedModule(nn.Module):
    """Everything behind the resizing of an image: normalise, run the network, classify, calibrate.

    Parameters
    ----------
    classifier : Classifier
        A head; or a tuned tail that has its network.
    network : Backbone
        The network of its spec.
    metadata : ExportMetadata
        Form of the input.

    Examples
    --------
    >>> module = ExportedModule(head, network, metadata)  # doctest: +SKIP
    >>> scores, labels = module(module.example())  # doctest: +SKIP
    """

    mean: Tensor
    std: Tensor

    def __init__(self, classifier: Classifier, network: Backbone, metadata: ExportMetadata) -> None:
        super().__init__()
        self.metadata = metadata
        transform = metadata.spec.transform
        for name, values in (("mean", transform.mean), ("std", transform.std)):
            tensor = torch.tensor(values, dtype=torch.float32, device="cpu")
            self.register_buffer(name, tensor.reshape(3, 1, 1))
        self.codes = _codes(classifier, network)
        if isinstance(classifier, TunedTail):
            assert classifier.module is not None
            self.decide: nn.Module = classifier.module
        else:
            self.decide = _LinearDecision(cast(Head, classifier))
        self.calibrate: nn.Module = nn.Identity()
        if classifier.calibration is not None:
            self.calibrate = _Calibrated(classifier.calibration)
        self.eval().requires_grad_(False)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return scores and labels.

        Parameters
        ----------
        images : Tensor, shape of `ExportMetadata.shape`

        Returns
        -------
        scores : Tensor of float32, shape (n, k)
            Probabilities, or margins of a classifier without calibration.
        labels : Tensor of int64, shape (n,), or of bool, shape (n, k)
            Index of the class; or which labels an image has.
        """
        views, several = self.metadata.views, self.metadata.multilabel
        if views > 1:
            images = images.flatten(0, 1)
        if self.metadata.input != FLOAT:
            images = images.permute(0, 3, 1, 2).float() / 255
        margins = self.decide(self.codes((images - self.mean) / self.std))
        if views > 1:
            margins = margins.reshape(-1, views, len(self.metadata.labels)).mean(1)
        return self.calibrate(margins), margins > 0 if several else margins.argmax(1)

    def example(self) -> Tensor:
        """Return two images to trace with: one alone would fix the number of images."""
        shape = (2, *cast("tuple[int, ...]", self.metadata.shape[1:]))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            noise = torch.rand(shape, dtype=torch.float32, device="cpu")
        return noise if self.metadata.input == FLOAT else (noise * 255).to(torch.uint8)

    @property
    def size(self) -> int:
        """Bytes of parameters and other tensors."""
        tensors = {id(t): t for t in (*self.parameters(), *self.buffers())}
        return sum(tensor.nbytes for tensor in tensors.values())


def _codes(classifier: Classifier, network: Backbone) -> nn.Module:
    """Return what computes a classifier's input from normalised images."""
    layers, spec = classifier.features.layers, classifier.spec
    if layers == (INPUT,):
        return nn.Identity()
    program = network.program(layers, relu=spec.relu, pool=spec.pool)
    return _Codes(program, layers, flat=isinstance(classifier, Head))


class _Codes(nn.Module):
    """The codes of some layers side by side; or of one, in its own shape."""

    def __init__(self, program: nn.Module, layers: tuple[str, ...], *, flat: bool) -> None:
        super().__init__()
        self.program, self.layers, self.flat = program, layers, flat

    def forward(self, images: Tensor) -> Tensor:
        codes: dict[str, Tensor] = self.program(images)
        if not self.flat:
            (layer,) = self.layers
            return codes[layer]
        return torch.cat([codes[layer].flatten(1) for layer in self.layers], dim=1)


class _LinearDecision(nn.Module):
    """A head's scaling and its linear function, as `FeatureScaler` and `Head` compute them."""

    mean: Tensor
    scale: Tensor
    coef: Tensor
    intercept: Tensor

    def __init__(self, head: Head) -> None:
        super().__init__()
        self.scaler: FeatureScaler = head.scaler
        self.share = math.sqrt(len(head.scaler.sizes))
        self.register_buffer("mean", _float32(head.scaler.mean))
        self.register_buffer("scale", _float32(self.share * head.scaler.scale))
        self.register_buffer("coef", _float32(head.coef))
        self.register_buffer("intercept", _float32(head.intercept))

    def forward(self, codes: Tensor) -> Tensor:
        return nn.functional.linear(self._scaled(codes), self.coef, self.intercept)

    def _scaled(self, codes: Tensor) -> Tensor:
        name = self.scaler.name
        if name == "l2":
            return torch.cat(
                [self._unit(codes[:, columns]) for columns in column_blocks(self.scaler.sizes)], 1
            )
        if name == "none":
            return codes / self.share
        if name == "sqrt":
            codes = torch.sign(codes) * torch.sqrt(torch.abs(codes))
        return (codes - self.mean) / self.scale

    def _unit(self, codes: Tensor) -> Tensor:
        # By the largest first: its square may be no number of float32.
        codes = codes / _or_one(codes.abs().amax(1, keepdim=True))
        return codes / _or_one(self.share * torch.sqrt((codes * codes).sum(1, keepdim=True)))


class _Calibrated(nn.Module):
    """Probabilities of margins, as `Calibration` computes them."""

    slope: Tensor
    offset: Tensor

    def __init__(self, calibration: Calibration) -> None:
        super().__init__()
        self.independent = calibration.independent
        self.register_buffer("slope", _float32(calibration.slope))
        self.register_buffer("offset", _float32(calibration.offset))

    def forward(self, margins: Tensor) -> Tensor:
        logits = self.slope * margins + self.offset
        return torch.sigmoid(logits) if self.independent else torch.softmax(logits, 1)


def _or_one(divisors: Tensor) -> Tensor:
    """Return divisors with 1 for 0."""
    return torch.where(divisors == 0, torch.ones_like(divisors), divisors)


def _float32(values: Any) -> Tensor:
    return torch.from_numpy(values).float()
