"""What heads and tuned tails share: which codes they read, and labels from decision values."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from os import PathLike
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from bottleneck.data import SEPARATOR
from bottleneck.errors import HeadError
from bottleneck.fitting.loading.features import Features
from bottleneck.linear import Calibration
from bottleneck.model_reference import ModelReference
from bottleneck.spec import Spec


@dataclass(frozen=True, kw_only=True, eq=False)
class Classifier(ABC):
    """A trained classifier of codes, and the network that its codes come from.

    Attributes
    ----------
    features : Features
        Layers whose codes it reads, side by side, and views of each image.
    classes : list of k str
        Class names, in the order of the decision values.
    calibration : Calibration or None
        Map from decision values to probabilities; None if there is none.
    multilabel : bool
        Whether an image may have several classes, or none: those with decision values above 0.
    spec : Spec
        Spec of the codes that it was trained on.
    reference : ModelReference
        Origin of the network.
    training_record : dict
        Training and score, as the command that trained it prints them as JSON, without confusion
        matrices; for information.
    owner : str
        What it is, for messages: ``"the head"``. Of a class.
    next_step : str
        What to do with codes of another spec, for messages. Of a class.
    """

    owner: ClassVar[str]
    next_step: ClassVar[str]

    features: Features
    classes: list[str]
    calibration: Calibration | None
    multilabel: bool
    spec: Spec
    reference: ModelReference
    training_record: dict[str, Any]

    @abstractmethod
    def decision_function(self, codes: NDArray[Any]) -> NDArray[np.float64]:
        """Return the value of each class, its mean over the views of an image.

        Parameters
        ----------
        codes : ndarray, shape (n · views, d)
            Flattened codes of its spec, layers side by side. The views of an image are consecutive
            rows.

        Returns
        -------
        ndarray of float64, shape (n, k)
        """

    @abstractmethod
    def save(self, path: str | PathLike[str]) -> None:
        """Write it as one safetensors file; an existing one is replaced atomically."""

    def with_network(self, load: Callable[[], Any], device: str = "auto") -> Self:
        """Return it ready for `decision_function`; a classifier of codes alone is.

        Parameters
        ----------
        load : callable
            Returns the network of its spec. Called only where a part of it is needed.
        device : str
            Where that part computes.
        """
        return self

    def with_views(self, views: int) -> Self:
        """Return the same classifier for another number of views of each image.

        Parameters
        ----------
        views : int
            Counted from the plain image; 1 is that alone.

        Raises
        ------
        InvalidOptionError
            `views` is below 1, or above 1 where it was trained without views.
        """
        return replace(self, features=self.features.with_views(views))

    def predict_scores(self, decision_values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return probabilities, or the decision values of a classifier without calibration.

        Parameters
        ----------
        decision_values : ndarray of float64, shape (n, k)
            Result of `decision_function`.

        Returns
        -------
        ndarray of float64, shape (n, k)

        Raises
        ------
        HeadError
            They are no decision values of its classes: codes, for example.
        """
        self._require_values(decision_values)
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

        Raises
        ------
        HeadError
            They are no decision values of its classes: codes, for example.
        """
        self._require_values(decision_values)
        if not self.multilabel:
            return [self.classes[k] for k in decision_values.argmax(axis=1).tolist()]
        return [
            SEPARATOR.join(name for name, given in zip(self.classes, row, strict=True) if given)
            for row in (decision_values > 0).tolist()
        ]

    def _require_values(self, values: NDArray[np.float64]) -> None:
        k = len(self.classes)
        if values.ndim != 2 or values.shape[1] != k:
            raise HeadError(
                f"{self.owner} has decision values of shape (n, {k}), got shape {values.shape}: "
                "its `decision_function` makes them of codes"
            )

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
        self.spec.require(spec, this=self.owner, that=where, next_step=self.next_step)
