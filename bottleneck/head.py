"""The head: a trained linear classifier with everything it needs to be used again, as data."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from bottleneck.errors import HeadError, OutputExistsError
from bottleneck.files import publish
from bottleneck.spec import Source, Spec

FORMAT = "bottleneck-head"
FORMAT_VERSION = 1

CLASSIFIER_NAMES = ("svm", "softmax")
PREPROCESSING = ("standardize", "l2", "none")


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
    preprocess : str
        ``"standardize"``, ``"l2"`` or ``"none"``, done to a code first.
    mean, scale : ndarray of float64, shape (d,)
        For ``"standardize"``: (code - mean) / scale; else zeros and ones.
    spec : Spec
        What decided the codes that it was trained on.
    source : Source
        Where their network came from.
    record : dict
        How it was trained and what it scored, as `fit --json` prints it; for people.
    """

    clf: str
    layer: str
    classes: list[str]
    coef: NDArray[np.float64]
    intercept: NDArray[np.float64]
    preprocess: str
    mean: NDArray[np.float64]
    scale: NDArray[np.float64]
    spec: Spec
    source: Source
    record: dict[str, Any]

    def margins(self, codes: NDArray[Any]) -> NDArray[np.float64]:
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
        return self._prepared(codes) @ self.coef.T + self.intercept

    def scores(self, codes: NDArray[Any]) -> NDArray[np.float64]:
        """Probabilities for softmax, margins for svm; shape (n, k)."""
        margins = self.margins(codes)
        if self.clf != "softmax":
            return margins
        exponentials = np.exp(margins - margins.max(axis=1, keepdims=True))
        return np.asarray(exponentials / exponentials.sum(axis=1, keepdims=True))

    def _prepared(self, codes: NDArray[Any]) -> NDArray[np.float64]:
        codes = codes.astype(np.float64)
        if self.preprocess == "l2":
            norms = np.linalg.norm(codes, axis=1, keepdims=True)
            return np.asarray(codes / np.where(norms == 0, 1.0, norms))
        return np.asarray((codes - self.mean) / self.scale)

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
        tensors = {name: np.ascontiguousarray(getattr(self, name)) for name in _TENSORS}
        values = {
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            "clf": self.clf,
            "layer": self.layer,
            "classes": self.classes,
            "preprocess": self.preprocess,
            "spec": self.spec.to_json(),
            "source": asdict(self.source),
            "record": self.record,
        }
        with publish(path) as temporary:
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
                preprocess=values["preprocess"],
                spec=Spec.from_json(values["spec"]),
                source=Source(**values["source"]),
                record=dict(values["record"]),
                **tensors,
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            if isinstance(error, HeadError):
                raise
            raise HeadError(f"{path} is not a head of this format: {error!r}") from error
        _require_sense(path, head)
        return head


_TENSORS = ("coef", "intercept", "mean", "scale")


def require_new(path: Path, *, overwrite: bool) -> None:
    """Refuse to write over a file that nobody asked to replace.

    Raises
    ------
    OutputExistsError
        It exists and `overwrite` is false.
    """
    if path.is_dir():
        raise OutputExistsError(f"{path} is a folder: name a file with -o")
    if path.parent.exists() and not path.parent.is_dir():
        raise OutputExistsError(
            f"{path.parent} is a file, not a folder: name another place with -o"
        )
    if path.exists() and not overwrite:
        raise OutputExistsError(
            f"{path} exists: name another file with -o, or replace it with --overwrite"
        )


def _read(path: Path) -> tuple[dict[str, NDArray[np.float64]], dict[str, Any]]:
    if not path.is_file():
        raise HeadError(f"no head at {path}: `bottleneck fit` makes one")
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = (file.metadata() or {}).get("bottleneck", "")
            names = set(file.keys())
            tensors = {name: file.get_tensor(name) for name in _TENSORS if name in names}
        values = json.loads(metadata)
    except (SafetensorError, ValueError) as error:
        raise HeadError(
            f"{path} is not a head: heads are safetensors files that `bottleneck fit` wrote; "
            "pickles and other files are refused, because reading them could run code"
        ) from error
    return tensors, values


def _require_sense(path: Path, head: Head) -> None:
    for name, known in [("clf", CLASSIFIER_NAMES), ("preprocess", PREPROCESSING)]:
        if getattr(head, name) not in known:
            raise HeadError(
                f"{path}: {name} is {getattr(head, name)!r}, must be one of {', '.join(known)}"
            )
    k, d = len(head.classes), head.coef.shape[-1] if head.coef.ndim else 0
    expected = {"coef": (k, d), "intercept": (k,), "mean": (d,), "scale": (d,)}
    for name, shape in expected.items():
        found = getattr(head, name).shape
        if found != shape:
            raise HeadError(f"{path} is damaged: {name} has shape {found}, must be {shape}")
