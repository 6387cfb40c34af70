"""The split on which a classifier is scored, and the facts that qualify the score."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from bottleneck.data import UnknownLabels


@dataclass(frozen=True)
class JudgedSplit:
    """The split on which a classifier is scored, and the facts that qualify its score.

    Attributes
    ----------
    name : str
        Empty where there are no splits, or none of them is held out.
    no_heldout : str
        Why none is held out; empty where one is, or there are no splits.
    unknown : UnknownLabels
        Images that are not judged, for lack of a class that was trained on.
    copies : int
        Images with the same bytes as a training image, as far as these were compared.
    shared_groups : int
        Images of a group, such as a patient, that training images have too.
    unused : mapping of str to int
        Labelled images that are neither trained on nor judged, by split; ``""`` is no split.
    """

    name: str = ""
    no_heldout: str = ""
    unknown: UnknownLabels = UnknownLabels()
    copies: int = 0
    shared_groups: int = 0
    unused: Mapping[str, int] = field(default_factory=dict)


def format_no_heldout(why: str) -> str:
    """Say that there is no held-out split, and why.

    Parameters
    ----------
    why : str
        `JudgedSplit.no_heldout`.

    Examples
    --------
    >>> format_no_heldout(""), format_no_heldout("no image has a label in 'test'")
    ('no held-out split', "no held-out split (no image has a label in 'test')")
    """
    return f"no held-out split ({why})" if why else "no held-out split"
