"""The model and weights that a cache was made with, as the user named them."""

from dataclasses import dataclass


@dataclass(frozen=True)
class ModelReference:
    """Name the model and weights of a cache, so that they can be loaded again.

    It is no part of the spec: two names of one network give the same codes.

    Attributes
    ----------
    model, weights : str
        As the user named them, files with their absolute paths.
    """

    model: str
    weights: str

    def __post_init__(self) -> None:
        if not (isinstance(self.model, str) and isinstance(self.weights, str)):
            raise TypeError("model and weights must be strings")
