"""Where a network came from, so that it can be loaded again."""

from dataclasses import dataclass


@dataclass(frozen=True)
class ModelReference:
    """Where the network came from, so that it can be loaded again. Decides no number.

    Attributes
    ----------
    model, weights : str
        As the user named them, files with their absolute paths.
    """

    model: str
    weights: str

    def __post_init__(self) -> None:
        if not (isinstance(self.model, str) and isinstance(self.weights, str)):
            raise TypeError("a source is two texts")
