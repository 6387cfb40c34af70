"""The split that judges a classifier, and what is to be said of its images beside their score."""

from dataclasses import dataclass

from bottleneck.data import UnknownLabels


@dataclass(frozen=True)
class JudgedSplit:
    """The split whose images judge a classifier, and what is to be said beside its score.

    Attributes
    ----------
    name : str
        Empty where there are no splits, or none of them judges.
    reason : str
        Why none judges; empty where one does, or there are none.
    unknown : UnknownLabels
        Images that are not judged, for lack of a class that was trained on.
    copies : int
        Images with the same bytes as a training image, as far as these were compared.
    shared_groups : int
        Images of a group, such as a patient, that training images have too.
    """

    name: str = ""
    reason: str = ""
    unknown: UnknownLabels = UnknownLabels()
    copies: int = 0
    shared_groups: int = 0
