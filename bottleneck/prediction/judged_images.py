"""Decision values of a classifier on the labelled images of a split, and their score."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bottleneck.cache import Cache, count_copies
from bottleneck.data import (
    ImageTable,
    UnknownLabels,
    encode_targets,
    find_split,
    heldout_split,
    known_rows,
    split_rows,
    why_none_is_heldout,
)
from bottleneck.errors import LabelsError, UnknownNameError
from bottleneck.fitting import (
    Classifier,
    JudgedSplit,
    Score,
    count_shared_groups,
    matrix_values,
    open_matrix,
    require_rows,
    row_groups,
    score_values,
)
from bottleneck.runtime import require_left_out


@dataclass(frozen=True)
class JudgedImages:
    """What a classifier says of labelled images.

    Attributes
    ----------
    classifier : Classifier
    images : ImageTable
        Images with their labels.
    split : JudgedSplit
        The split that was judged.
    row : ndarray of int64, shape (n,)
        Rows of `images` that were judged, ascending.
    values : ndarray of float64, shape (2, n, k)
        Decision values of each image and those of its plain view; of shape (1, n, k) for one view
        or where the latter are not known.
    targets : ndarray of int64, shape (n,), or of bool, shape (n, k)
    rejected : dict of str to str
        Labelled images of the split without codes, by path, and why.
    """

    classifier: Classifier
    images: ImageTable
    split: JudgedSplit
    row: NDArray[np.int64]
    values: NDArray[np.float64]
    targets: NDArray[Any]
    rejected: dict[str, str]

    def score(self, chosen: NDArray[np.bool_] | None = None) -> Score:
        """Return the score on all of these images, or on some.

        Parameters
        ----------
        chosen : ndarray of bool, shape (n,), optional
            Which of them are scored, at least one; all unless given.
        """
        some = slice(None) if chosen is None else chosen
        split = self.split
        if chosen is not None:
            split = JudgedSplit(split.name, unknown=split.unknown)
        return score_values(
            self.classifier,
            self.values[:, some],
            self.targets[some],
            split,
            groups=row_groups(self.images, self.row[some]),
        )


def judge_cache(
    classifier: Classifier, cache: Cache, images: ImageTable, split: str
) -> JudgedImages:
    """Apply a classifier to the codes of a split's labelled images.

    Parameters
    ----------
    classifier : Classifier
        Ready for `decision_function`.
    cache : Cache
        Of its spec.
    images : ImageTable
        The cache's images, or the same rows with other labels.
    split : str
        By its own name; empty for all images.

    Raises
    ------
    LabelsError
        There are no labelled images with codes, or none of them has a class of the classifier.
    """
    labelled = split_rows(images, images.has_label, split)
    rows = labelled[classifier.features.valid_rows(cache)[labelled]]
    # Not `cache.rejected()`: an image may have codes at these layers and none at another.
    reasons = classifier.features.rejected(cache)
    rejected = {images.path[row]: reasons[row] for row in labelled.tolist() if row in reasons}
    require_rows(rows, split=split)
    rows, targets, unknown = judged_rows(classifier, images, rows, split)
    codes = open_matrix(cache, classifier.features, rows, memory=None)
    values = matrix_values(classifier, codes)
    trained = trained_rows(images, split)
    judged = JudgedSplit(
        split,
        unknown=unknown,
        copies=count_copies(cache, classifier.features.layers[0], rows, among=trained),
        shared_groups=count_shared_groups(images, rows, among=trained),
    )
    return JudgedImages(classifier, images, judged, rows, values, targets, rejected)


def judged_rows(
    classifier: Classifier, images: ImageTable, rows: NDArray[np.int64], split: str
) -> tuple[NDArray[np.int64], NDArray[Any], UnknownLabels]:
    """Return the rows that a classifier can be judged on, their targets, and unknown labels."""
    classes, multilabel = classifier.classes, classifier.multilabel
    known, unknown = known_rows(images, rows, classes, multilabel=multilabel, split=split)
    return known, encode_targets(images, known, classes, multilabel=multilabel), unknown


def trained_rows(images: ImageTable, split: str) -> NDArray[np.int64]:
    """Return the rows of the split ``train``; none where they are judged themselves.

    Parameters
    ----------
    images : ImageTable
    split : str
        The one that is judged; empty for all images.
    """
    return np.flatnonzero(images.split.equals("train") & (split not in ("", "train")))


def require_split(images: ImageTable, split: str | None) -> str:
    """Return a split of the images by its own name: the held-out one unless given.

    Raises
    ------
    InvalidOptionError
        The images have no splits.
    LabelsError
        None was given, and of several splits none is the held-out one.
    UnknownNameError
        There is no such split.
    """
    if split is None:
        found, why = heldout_split(images), why_none_is_heldout(images)
        if not found and why:
            hint = "name the one to judge by `split`, or give `labels`"
            raise LabelsError(f"these images have no held-out split: {why}", hint=hint)
        return found
    found = find_split(images, split)
    known = sorted(images.split.categories)
    if known == [""]:
        require_left_out("these images have no splits, and all are judged", split=split)
    if found not in known:
        raise UnknownNameError("split", split, [name for name in known if name])
    return found
