"""The head: a trained linear classifier with everything it needs to be used again, as data."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from bottleneck.cache.manifest import PARSE_ERRORS
from bottleneck.data.labels import SEPARATOR
from bottleneck.errors import HeadError, format_error
from bottleneck.linear.calibration import Calibration
from bottleneck.linear.classifiers import CLASSIFIERS
from bottleneck.linear.scaling import SCALINGS, FeatureScaler
from bottleneck.runtime.files import atomic_write
from bottleneck.spec import ModelReference, Spec

FORMAT = "bottleneck-head"
FORMAT_VERSION = 1


@dataclass(frozen=True)
class Head:
    """A linear classifier on the codes of one layer.

    Attributes
    ----------
    clf : str
        ``"svm"`` or ``"softmax"``.
    layer : str
        The layer whose codes it reads.
    classes : list of k str
        Class names, in the order of the coefficients.
    coef : ndarray of float64, shape (k, d)
    intercept : ndarray of float64, shape (k,)
    preprocessing : FeatureScaler
        Done to a code first.
    calibration : Calibration or None
        From margins to probabilities; None where nothing was held back to learn it from.
    multilabel : bool
        Whether an image may have several of the classes, or none: those of margins above 0.
    spec : Spec
        What decided the codes that it was trained on.
    reference : ModelReference
        Where their network came from.
    training_record : dict
        How it was trained and what it scored, as `fit --json` prints it; for people.
    """

    clf: str
    layer: str
    classes: list[str]
    coef: NDArray[np.float64]
    intercept: NDArray[np.float64]
    preprocessing: FeatureScaler
    calibration: Calibration | None
    multilabel: bool
    spec: Spec
    reference: ModelReference
    training_record: dict[str, Any]

    def decision_function(self, codes: NDArray[Any]) -> NDArray[np.float64]:
        """The linear score of each class.

        Parameters
        ----------
        codes : ndarray, shape (n, d)
            Of this head's spec and layer, flattened.

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
        return self.preprocessing(codes.astype(np.float64)) @ self.coef.T + self.intercept

    def predict_scores(self, margins: NDArray[np.float64]) -> NDArray[np.float64]:
        """Probabilities where the head is calibrated, else the margins; shape (n, k)."""
        return margins if self.calibration is None else self.calibration.probabilities(margins)

    def predict_labels(self, margins: NDArray[np.float64]) -> list[str]:
        """The class of the highest margin of each row; all of positive margins for multi-label."""
        if not self.multilabel:
            return [self.classes[k] for k in margins.argmax(axis=1).tolist()]
        return [
            SEPARATOR.join(name for name, given in zip(self.classes, row, strict=True) if given)
            for row in (margins > 0).tolist()
        ]

    def require(self, spec: Spec, *, where: str) -> None:
        """Refuse codes of another spec.

        Raises
        ------
        SpecMismatchError
            Names every field that differs.
        """
        self.spec.require(
            spec,
            this="the head",
            that=where,
            next_step="a head reads only codes of its own spec; `bottleneck fit` makes another",
        )

    def save(self, path: Path) -> None:
        """Write it as safetensors, coefficients as tensors and the rest as JSON metadata."""
        tensors = {"coef": self.coef, "intercept": self.intercept}
        tensors |= {"mean": self.preprocessing.mean, "scale": self.preprocessing.scale}
        if self.calibration is not None:
            tensors |= {"slope": self.calibration.slope, "offset": self.calibration.offset}
        tensors = {name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()}
        values = {
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            "clf": self.clf,
            "layer": self.layer,
            "classes": self.classes,
            "preprocess": self.preprocessing.name,
            "multilabel": self.multilabel,
            "spec": self.spec.to_json(),
            "source": asdict(self.reference),
            "record": self.training_record,
        }
        with atomic_write(path) as temporary:
            # Not safetensors' save_file: its files are for their owner's eyes alone.
            temporary.write_bytes(save(tensors, metadata={"bottleneck": json.dumps(values)}))

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a head; runs no code of the file's.

        Raises
        ------
        HeadError
            There is no such file, it is no head, or its parts do not fit together.
        """
        tensors, values = _read(path)
        try:
            if (values["format"], values["format_version"]) != (FORMAT, FORMAT_VERSION):
                raise HeadError(
                    f"{path} has format {values['format']!r} version "
                    f"{values['format_version']!r}; this program reads {FORMAT!r} {FORMAT_VERSION}"
                )
            head = cls(
                clf=values["clf"],
                layer=values["layer"],
                classes=list(values["classes"]),
                coef=tensors["coef"],
                intercept=tensors["intercept"],
                preprocessing=FeatureScaler(
                    values["preprocess"], tensors["mean"], tensors["scale"]
                ),
                calibration=_calibration(tensors, independent=values["multilabel"]),
                multilabel=values["multilabel"],
                spec=Spec.from_json(values["spec"]),
                reference=ModelReference(**values["source"]),
                training_record=dict(values["record"]),
            )
        except PARSE_ERRORS as error:
            if isinstance(error, HeadError):
                raise
            raise HeadError(
                f"{path} is not a head of this format: {format_error(error)}"
            ) from error
        _require_sense(path, head)
        return head


_TENSORS = ("coef", "intercept", "mean", "scale", "slope", "offset")


def _calibration(
    tensors: dict[str, NDArray[np.float64]], *, independent: bool
) -> Calibration | None:
    if not {"slope", "offset"} & tensors.keys():
        return None
    return Calibration(tensors["slope"], tensors["offset"], independent=independent)


def _read(path: Path) -> tuple[dict[str, NDArray[np.float64]], dict[str, Any]]:
    if not path.is_file():
        raise HeadError(f"no head at {path}: `bottleneck fit` makes one")
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = (file.metadata() or {}).get("bottleneck", "")
            names = set(file.keys())
            tensors = {name: file.get_tensor(name) for name in _TENSORS if name in names}
        values = json.loads(metadata)
    except (SafetensorError, *PARSE_ERRORS) as error:
        raise HeadError(
            f"{path} is not a head: heads are safetensors files that `bottleneck fit` wrote; "
            "pickles and other files are refused, because reading them could run code"
        ) from error
    return tensors, values


def _require_sense(path: Path, head: Head) -> None:
    for name, value, known in [
        ("clf", head.clf, CLASSIFIERS),
        ("preprocess", head.preprocessing.name, SCALINGS),
    ]:
        if value not in known:
            raise HeadError(f"{path}: {name} is {value!r}, must be one of {', '.join(known)}")
    if not isinstance(head.multilabel, bool):
        raise HeadError(f"{path}: multilabel is {head.multilabel!r}, must be true or false")
    if not all(isinstance(text, str) for text in (head.layer, *head.classes)):
        raise HeadError(f"{path}: the names of the layer and of the classes must be text")
    k, d = len(head.classes), head.coef.shape[-1] if head.coef.ndim else 0
    expected = [
        ("coef", head.coef, (k, d)),
        ("intercept", head.intercept, (k,)),
        ("mean", head.preprocessing.mean, (d,)),
        ("scale", head.preprocessing.scale, (d,)),
    ]
    if head.calibration is not None:
        expected += [
            ("slope", head.calibration.slope, (k,)),
            ("offset", head.calibration.offset, (k,)),
        ]
    for name, tensor, shape in expected:
        if tensor.dtype != np.float64:
            raise HeadError(f"{path} is damaged: {name} is {tensor.dtype}, must be float64")
        if tensor.shape != shape:
            raise HeadError(f"{path} is damaged: {name} has shape {tensor.shape}, must be {shape}")
        if not np.isfinite(tensor).all():
            raise HeadError(f"{path} is damaged: {name} has values that are not finite")
