"""Heads: trained linear classifiers with all data that prediction needs, stored as safetensors."""

import json
from dataclasses import asdict, dataclass, replace
from os import PathLike
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from bottleneck.cache import PARSE_ERRORS
from bottleneck.data import SEPARATOR
from bottleneck.errors import HeadError, format_error
from bottleneck.fitting.loading.features import Features
from bottleneck.linear import CLASSIFIERS, SCALINGS, Calibration, FeatureScaler, mean_of_rows
from bottleneck.runtime import atomic_write
from bottleneck.spec import ModelReference, Spec, ViewRecipe

FORMAT = "bottleneck-head"
FORMAT_VERSION = 2
VERSIONS = (1, FORMAT_VERSION)  # that are read; 2 has layers, and the keys of cache format 3


@dataclass(frozen=True)
class Head:
    """Linear classifier for the codes of one or several layers.

    Attributes
    ----------
    clf : str
        ``"svm"`` or ``"softmax"``.
    features : Features
        Layers whose codes it classifies, side by side, and views of each image.
    classes : list of k str
        Class names, in the order of the coefficients.
    coef : ndarray of float64, shape (k, d)
        Coefficients.
    intercept : ndarray of float64, shape (k,)
        Intercepts.
    scaler : FeatureScaler
        Scaling that is applied to the codes first.
    calibration : Calibration or None
        Map from decision values to probabilities; None where it was trained without folds.
    multilabel : bool
        Whether an image may have several classes, or none: those with decision values above 0.
    spec : Spec
        Spec of the codes that it was trained on.
    reference : ModelReference
        Origin of the network.
    training_record : dict
        Training and score, as ``fit`` prints them as JSON; for information only.

    Examples
    --------
    >>> head = Head.load("tests/data/before/head-svm.safetensors")
    >>> values = head.decision_function(np.zeros((1, head.coef.shape[1])))
    >>> head.predict_scores(values).shape == (1, len(head.classes))
    True
    """

    clf: str
    features: Features
    classes: list[str]
    coef: NDArray[np.float64]
    intercept: NDArray[np.float64]
    scaler: FeatureScaler
    calibration: Calibration | None
    multilabel: bool
    spec: Spec
    reference: ModelReference
    training_record: dict[str, Any]

    def with_views(self, views: int) -> Self:
        """Return the same classifier for another number of views of each image.

        Parameters
        ----------
        views : int
            Counted from the plain image; 1 is that alone.

        Raises
        ------
        InvalidOptionError
            `views` is below 1, or above 1 for a head that was trained without views.
        """
        return replace(self, features=self.features.with_views(views))

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

    def predict_scores(self, decision_values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return probabilities, or the decision values of a head without calibration.

        Parameters
        ----------
        decision_values : ndarray of float64, shape (n, k)
            Result of `decision_function`.

        Returns
        -------
        ndarray of float64, shape (n, k)
        """
        if self.calibration is None:
            return decision_values
        return self.calibration.probabilities(decision_values)

    def predict_labels(self, decision_values: NDArray[np.float64]) -> list[str]:
        """Return the class of the highest value of each row.

        With several labels an image, the labels with values above 0 are joined by ``|``.

        Parameters
        ----------
        decision_values : ndarray of float64, shape (n, k)
            Result of `decision_function`.

        Returns
        -------
        list of n str
        """
        if not self.multilabel:
            return [self.classes[k] for k in decision_values.argmax(axis=1).tolist()]
        return [
            SEPARATOR.join(name for name, given in zip(self.classes, row, strict=True) if given)
            for row in (decision_values > 0).tolist()
        ]

    def require(self, spec: Spec, *, where: str) -> None:
        """Refuse codes of another spec.

        Parameters
        ----------
        spec : Spec
            Spec of the codes.
        where : str
            Origin of the codes, for the message.

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
        tensors = {name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()}
        values = {
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            "clf": self.clf,
            "layers": [
                {"name": layer, "size": size}
                for layer, size in zip(self.features.layers, self.scaler.sizes, strict=True)
            ],
            "views": self.features.views,
            "view_recipe": self.features.recipe.to_json() if self.features.recipe else None,
            "classes": self.classes,
            "preprocess": self.scaler.name,
            "multilabel": self.multilabel,
            "spec": self.spec.to_json(),
            "source": asdict(self.reference),
            "record": self.training_record,
        }
        with atomic_write(Path(path)) as temporary:
            # Not safetensors' save_file, whose files only their owner may read.
            temporary.write_bytes(save(tensors, metadata={"bottleneck": json.dumps(values)}))

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
        tensors, values = _read(path)
        try:
            version = values["format_version"]
            if values["format"] != FORMAT or type(version) is not int or version not in VERSIONS:
                raise HeadError(
                    f"{path} has format {values['format']!r} version {version!r}; this program "
                    f"reads {FORMAT!r} {' and '.join(map(str, VERSIONS))}"
                )
            layers = _layer_sizes(values, tensors["coef"])
            head = cls(
                clf=values["clf"],
                features=_features(values, tuple(layers)),
                classes=list(values["classes"]),
                coef=tensors["coef"],
                intercept=tensors["intercept"],
                scaler=FeatureScaler(
                    values["preprocess"],
                    tuple(layers.values()),
                    mean=tensors["mean"],
                    scale=tensors["scale"],
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
        _validate(path, head)
        return head


def _layer_sizes(values: dict[str, Any], coef: NDArray[np.float64]) -> dict[str, int]:
    """Return the size of each layer's codes; a head of version 1 has one layer."""
    if "layers" not in values:
        return {values["layer"]: coef.shape[1]}
    return {layer["name"]: layer["size"] for layer in values["layers"]}


def _features(values: dict[str, Any], layers: tuple[str, ...]) -> Features:
    recipe = values.get("view_recipe")
    made = None if recipe is None else ViewRecipe.from_json(recipe)
    return Features(layers, values.get("views", 1), made)


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


def _validate(path: Path, head: Head) -> None:
    for name, value, known in [
        ("clf", head.clf, CLASSIFIERS),
        ("preprocess", head.scaler.name, SCALINGS),
    ]:
        if value not in known:
            raise HeadError(f"{path}: {name} is {value!r}, must be one of {', '.join(known)}")
    if not isinstance(head.multilabel, bool):
        raise HeadError(f"{path}: multilabel is {head.multilabel!r}, must be true or false")
    layers, sizes = head.features.layers, head.scaler.sizes
    if not all(isinstance(text, str) for text in (*layers, *head.classes)):
        raise HeadError(f"{path}: the names of the layers and of the classes must be text")
    counts = (head.features.views, *sizes)
    if not layers or not all(type(count) is int and count > 0 for count in counts):
        raise HeadError(f"{path}: views and the sizes of layers are {counts}, must be above 0")
    if (head.features.views > 1) != (head.features.recipe is not None):
        raise HeadError(f"{path}: a recipe is needed for views, and for nothing else")
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
        if tensor.dtype != np.float64:
            raise HeadError(f"{path} is damaged: {name} is {tensor.dtype}, must be float64")
        if tensor.shape != shape:
            raise HeadError(f"{path} is damaged: {name} has shape {tensor.shape}, must be {shape}")
        if not np.isfinite(tensor).all():
            raise HeadError(f"{path} is damaged: {name} has values that are not finite")
