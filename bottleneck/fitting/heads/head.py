"""Heads: trained linear classifiers with all data that prediction needs, stored as safetensors."""

from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from bottleneck.errors import HeadError
from bottleneck.fitting.heads.classifier import Classifier
from bottleneck.fitting.heads.classifier_file import (
    HEAD_FORMAT,
    common_fields,
    common_values,
    parse_classifier,
    require_tensor,
    validate_common,
    write_classifier,
)
from bottleneck.linear import (
    CLASSIFIERS,
    SCALINGS,
    Calibration,
    ClassifierOptions,
    FeatureScaler,
    mean_of_rows,
)

FORMAT_VERSION = 2
VERSIONS = (1, FORMAT_VERSION)  # that are read; 2 has layers, and the keys of cache format 3


@dataclass(frozen=True, kw_only=True, eq=False)
class Head(Classifier):
    """Linear classifier for the codes of one or several layers.

    Beside its own attributes it has those of `bottleneck.fitting.heads.classifier.Classifier`.

    Attributes
    ----------
    clf : str
        ``"svm"`` or ``"softmax"``.
    coef : ndarray of float64, shape (k, d)
        Coefficients.
    intercept : ndarray of float64, shape (k,)
        Intercepts.
    scaler : FeatureScaler
        Scaling that is applied to the codes first.

    Examples
    --------
    >>> head = Head.load("tests/data/before/head-svm.safetensors")
    >>> values = head.decision_function(np.zeros((1, head.coef.shape[1])))
    >>> head.predict_scores(values).shape == (1, len(head.classes))
    True
    """

    owner = "the head"
    next_step = "a head reads only codes of its own spec; `bottleneck.fit` makes another"

    clf: str
    coef: NDArray[np.float64]
    intercept: NDArray[np.float64]
    scaler: FeatureScaler

    def __repr__(self) -> str:
        """Return a short description."""
        return f"<Head: {self.clf} on {self.features}, {len(self.classes)} classes>"

    @property
    def options(self) -> ClassifierOptions:
        """What it was trained with; the records of older heads do not name the class weight."""
        balanced = self.training_record.get("class_weight") == "balanced"
        return ClassifierOptions(self.clf, class_weight="balanced" if balanced else None)

    def decision_function(self, codes: NDArray[Any]) -> NDArray[np.float64]:
        """Return the linear score of each class, its mean over the views of an image.

        Parameters
        ----------
        codes : ndarray, shape (n · views, d)
            Flattened codes of this head's spec, layers side by side. The views of an image are
            consecutive rows.

        Returns
        -------
        ndarray of float64, shape (n, k)

        Raises
        ------
        HeadError
            The codes have another size.
        """
        if codes.ndim != 2 or codes.shape[1] != self.coef.shape[1]:
            raise HeadError(
                f"the head reads codes of size {self.coef.shape[1]}, got shape {codes.shape}"
            )
        scaled = mean_of_rows(self.scaler(codes.astype(np.float64)), self.features.views)
        return np.asarray(scaled @ self.coef.T + self.intercept)

    def save(self, path: str | PathLike[str]) -> None:
        """Write the head as safetensors: coefficients as tensors, the rest as JSON metadata.

        Parameters
        ----------
        path : str or PathLike
            Output file; an existing one is replaced atomically.
        """
        tensors = {"coef": self.coef, "intercept": self.intercept}
        tensors |= {"mean": self.scaler.mean, "scale": self.scaler.scale}
        if self.calibration is not None:
            tensors |= {"slope": self.calibration.slope, "offset": self.calibration.offset}
        layers = [
            {"name": layer, "size": size}
            for layer, size in zip(self.features.layers, self.scaler.sizes, strict=True)
        ]
        values = {
            "format": HEAD_FORMAT,
            "format_version": FORMAT_VERSION,
            "clf": self.clf,
            "layers": layers,
            "preprocess": self.scaler.name,
        }
        write_classifier(Path(path), tensors, values | common_values(self))

    @classmethod
    def load(cls, path: str | PathLike[str]) -> Self:
        """Read a head; no code in the file is executed.

        Parameters
        ----------
        path : str or PathLike
            File that `save` wrote.

        Raises
        ------
        HeadError
            There is no such file, it is not a head, or it is damaged.
        """
        path = Path(path)
        with parse_classifier(path, HEAD_FORMAT, VERSIONS, _TENSORS.__contains__) as parts:
            tensors, values = parts
            layers = _layer_sizes(values, tensors["coef"])
            head = cls(
                clf=values["clf"],
                coef=tensors["coef"],
                intercept=tensors["intercept"],
                scaler=FeatureScaler(
                    values["preprocess"],
                    tuple(layers.values()),
                    mean=tensors["mean"],
                    scale=tensors["scale"],
                ),
                calibration=_calibration(tensors, independent=values["multilabel"]),
                **common_fields(values, tuple(layers)),
            )
        _validate(path, head)
        return head


def _layer_sizes(values: dict[str, Any], coef: NDArray[np.float64]) -> dict[str, int]:
    """Return the size of each layer's codes; a head of version 1 has one layer."""
    if "layers" not in values:
        return {values["layer"]: coef.shape[1]}
    return {layer["name"]: layer["size"] for layer in values["layers"]}


_TENSORS = ("coef", "intercept", "mean", "scale", "slope", "offset")


def _calibration(
    tensors: dict[str, NDArray[np.float64]], *, independent: bool
) -> Calibration | None:
    if not {"slope", "offset"} & tensors.keys():
        return None
    return Calibration(tensors["slope"], tensors["offset"], independent=independent)


def _validate(path: Path, head: Head) -> None:
    for name, value, known in [
        ("clf", head.clf, CLASSIFIERS),
        ("preprocess", head.scaler.name, SCALINGS),
    ]:
        if value not in known:
            raise HeadError(f"{path}: {name} is {value!r}, must be one of {', '.join(known)}")
    validate_common(path, head)
    sizes = head.scaler.sizes
    if not sizes or not all(type(size) is int and size > 0 for size in sizes):
        raise HeadError(f"{path}: the sizes of layers are {sizes}, must be above 0")
    k, d = len(head.classes), sum(sizes)
    expected = [
        ("coef", head.coef, (k, d)),
        ("intercept", head.intercept, (k,)),
        ("mean", head.scaler.mean, (d,)),
        ("scale", head.scaler.scale, (d,)),
    ]
    if head.calibration is not None:
        expected += [
            ("slope", head.calibration.slope, (k,)),
            ("offset", head.calibration.offset, (k,)),
        ]
    for name, tensor, shape in expected:
        require_tensor(path, name, tensor, shape, np.float64)
