"""Audit a cache: duplicates, leaks across splits, suspect labels, outliers."""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from bottleneck.auditing.audit_result import AuditResult, Examined, LabelCheck
from bottleneck.auditing.duplicates import Links, image_groups
from bottleneck.auditing.label_suspects import (
    LabelSuspect,
    find_suspects,
    is_better_than_guessing,
)
from bottleneck.auditing.leaks import grouped_by, leaked_rows
from bottleneck.auditing.near_duplicates import NearPairs, find_near_pairs, neighbour_count
from bottleneck.auditing.neighbours import Neighbours, find_neighbours
from bottleneck.auditing.outliers import Outlier, find_outliers
from bottleneck.cache import Cache, CacheLike, equal_images, open_cache, pooled
from bottleneck.data import CategoricalColumn, ImageTable, SourceSummary
from bottleneck.errors import CacheError, LabelsError
from bottleneck.fitting import (
    ClassifierOptions,
    CodeDataset,
    CrossValidation,
    Features,
    FitCounter,
    FitResult,
    Head,
    JudgedSplit,
    LabelSource,
    Score,
    SearchOptions,
    count_shared_groups,
    fit_dataset,
    labelled_images,
    load_dataset,
    matrix_values,
    most_fits,
    open_matrix,
    resolve_features,
    score_values,
)
from bottleneck.linear import fit_scaler
from bottleneck.runtime import OnProgress, ignore_progress, require_positive_or_none, spare_memory

Load = Callable[[ImageTable], CodeDataset]  # of the codes that are examined

_CLASSIFIER = ClassifierOptions("softmax")  # its probabilities are those of the labels
_SEARCH = SearchOptions()
_WITHOUT_GROUPS = (
    "folds keep duplicates together, and not the images' groups: joined by duplicates, these are "
    "too few"
)
_GUESSED = (
    "the codes tell labels no better than the most frequent class does, so that many suspects are "
    "chance"
)


def audit(
    cache: CacheLike,
    *,
    layers: str | Sequence[str] = "all",
    labels: LabelSource | None = None,
    memory: int | None = None,
    on_progress: OnProgress = ignore_progress,
) -> AuditResult:
    """Find what a person should look at in a cache, which is only read.

    Duplicates have the same bytes, or codes that are nearer than chance puts unrelated images (see
    `bottleneck.auditing.near_duplicates.find_near_pairs`); the codes of each layer have the same
    length, and unpooled ones are averaged over positions. Leaks are images of other splits with a
    duplicate in ``train``: the held-out accuracy is given with and without them. Suspect labels are
    those that confident learning doubts, by classifiers that were trained without the image and
    without its duplicates. Outliers are far from all other images.

    Parameters
    ----------
    cache : str, PathLike, Cache or object with a ``cache``
        Only its plain views are used. Where it has no labels, labels are not examined.
    layers : str or sequence of str
        Layers of the cache whose codes are compared, side by side; unless given all, but no maps
        beside codes (``x@none``).
    labels : str, PathLike or LabelledImages, optional
        CSV with the columns ``path,label[,split][,group]`` that replaces the cache's labels.
    memory : int, optional
        Bytes that may be used; half of the free memory by default. Codes that do not fit are read
        from their shards again for each block of images that does.
    on_progress : callable, optional
        Called with the `Progress` of the images that are compared with all others, then with that
        of the classifiers that are trained to examine labels.

    Returns
    -------
    AuditResult

    Raises
    ------
    UnknownNameError
        The cache has no such layer.
    CacheError, ShardError
        The cache is incomplete or damaged, or has no codes.
    LabelsError
        `labels` does not describe images of the cache.
    InvalidOptionError
        `memory` is no number of bytes.

    Examples
    --------
    >>> import bottleneck as bn  # doctest: +SKIP
    >>> found = bn.audit("photos.cache")  # doctest: +SKIP
    >>> found.leaks, found.suspects[0].suggested  # doctest: +SKIP
    (12, 'bee')
    """
    start = time.monotonic()
    require_positive_or_none("memory", memory)  # before all images are compared
    store = pooled(open_cache(cache))
    features = resolve_features(store, layers, views=1)
    labelled = labelled_images(store, labels)
    images, rows = labelled.table, np.flatnonzero(features.valid_rows(store))
    if not len(rows):
        raise CacheError(f"{store.path} has no codes to audit: none of its images could be read")
    budget = spare_memory() if memory is None else memory
    same, pictures = _same_bytes(store, features, rows)
    neighbours, near = _compare(store, features, pictures, budget, on_progress)
    close = Links(pictures[near.first], pictures[near.second], near.distance)
    component = same.joined(close).components(len(images))
    leaks = leaked_rows(images, component)
    far, times = find_outliers(neighbours, component[pictures])
    load = partial(load_dataset, store, features, memory=budget)
    return AuditResult(
        examined=_examined(store, features, images, rows),
        duplicates=image_groups(images, same),
        near=image_groups(images, close),
        near_pairs=near,
        leaked=[images.path[row] for row in leaks.tolist()],
        shared_groups=_shared_groups(images, rows),
        labels=_check_labels(load, images, component, leaks, on_progress),
        outliers=[
            Outlier(images.path[row], images.split[row], images.label[row], score)
            for row, score in zip(pictures[far].tolist(), times.tolist(), strict=True)
        ],
        seconds=time.monotonic() - start,
        summary=labelled.summary,
    )


def _same_bytes(
    cache: Cache, features: Features, rows: NDArray[np.int64]
) -> tuple[Links, NDArray[np.int64]]:
    """Return the links of images with the same bytes, and the rows without the later ones."""
    equal, picture = equal_images(cache, features.layers[0])
    usable = np.isin(equal, rows)  # the others have no codes at another layer
    links = Links.of_pictures(equal[usable], picture[usable])
    return links, np.setdiff1d(rows, links.second, assume_unique=True)


def _compare(
    cache: Cache,
    features: Features,
    rows: NDArray[np.int64],
    memory: int,
    on_progress: OnProgress,
) -> tuple[Neighbours, NearPairs]:
    """Return the neighbours of each row among all, and the pairs that are near duplicates."""
    codes = open_matrix(cache, features, rows, memory=memory)
    codes = codes.scaled(fit_scaler("l2", codes, features.sizes(cache)))
    if len(features.layers) > 1:  # an image whose codes at one layer are zeros is shorter
        codes = codes.scaled(fit_scaler("l2", codes))
    # Half of the memory is for the codes, as they are read ahead.
    count = neighbour_count(len(rows))
    neighbours = find_neighbours(codes, count, memory=memory // 2, on_progress=on_progress)
    return neighbours, find_near_pairs(neighbours)


def _check_labels(
    load: Load,
    images: ImageTable,
    component: NDArray[np.int64],
    leaks: NDArray[np.int64],
    on_progress: OnProgress,
) -> LabelCheck:
    """Score a head with and without leaks, and doubt labels; or say why there is nothing to do.

    Folds keep duplicates together, and the images' own groups: where both joined are too few, the
    groups are not what they are meant to be, and duplicates alone are kept together.
    """
    tries = {"": images}
    if not images.group.equals("").all():
        tries[_WITHOUT_GROUPS] = replace(images, group=CategoricalColumn.blank(len(images)))
    reason = ""
    for remark, table in tries.items():
        try:
            found = _check_in_groups(load, grouped_by(table, component), leaks, on_progress)
            return replace(found, remark="; ".join(filter(None, [remark, found.remark])))
        except LabelsError as error:
            reason = reason or error.problem  # its next step is that of a training
    return LabelCheck(0, [], None, None, reason)


def _check_in_groups(
    load: Load, images: ImageTable, leaks: NDArray[np.int64], on_progress: OnProgress
) -> LabelCheck:
    """Score a head with and without leaks, and doubt labels; images are in groups for folds.

    C is selected on the training images. Then all labelled images are judged in folds, because a
    wrong label in the held-out split costs the most. These folds select C again, among those within
    one standard error of the best: where classes differ in size, the smallest of these may predict
    the classes' frequencies alone.
    """
    dataset = load(images)
    fits = FitCounter(most_fits(_SEARCH), on_progress)
    result = fit_dataset(dataset, _CLASSIFIER, _SEARCH, fits.add)
    fits.finish()
    clean = _score_without(leaks, dataset, result.head)
    search = replace(_SEARCH, c=[result.c])
    if not images.split.equals("").all():  # of any names: some have no held-out split
        search = replace(_SEARCH, c=_about_as_good(result))
        everything = replace(images, split=CategoricalColumn.blank(len(images)))
        dataset = load(everything)
    found = _find_label_suspects(dataset, images, search, on_progress)
    return replace(found, score=result.heldout, without_leaks=clean)


def _score_without(leaks: NDArray[np.int64], dataset: CodeDataset, head: Head) -> Score | None:
    """Score a head on the held-out images that are no leaks; None if there are none."""
    heldout, labelled = dataset.heldout, dataset.labelled
    if heldout is None or labelled.heldout is None:
        return None
    kept = heldout.take(np.flatnonzero(~np.isin(labelled.heldout.row, leaks)))
    if not len(kept.targets):
        return None
    values = matrix_values(head, kept.codes)
    split = JudgedSplit(labelled.judged.name)
    return score_values(head, values, kept.targets, split, groups=kept.groups)


def _find_label_suspects(
    dataset: CodeDataset, images: ImageTable, search: SearchOptions, on_progress: OnProgress
) -> LabelCheck:
    """Doubt labels of training images by heads that were trained without the image."""
    training = dataset.training
    if training.multilabel:
        why = "images have several labels each, and confident learning is of one class an image"
        return LabelCheck(0, [], None, None, why)
    fits = FitCounter(most_fits(search), on_progress)
    validation = CrossValidation(training, _CLASSIFIER, search, fits.add)
    best = validation.select().best
    calibration, values = validation.calibrate(best.c, best.scaling)
    fits.finish()
    found, suggested, margins = find_suspects(calibration.probabilities(values), training.targets)
    remark = "" if is_better_than_guessing(values, training.targets) else _GUESSED
    rows, names = dataset.labelled.training.row[found], dataset.labelled.names
    suspects = [
        LabelSuspect(images.path[row], images.split[row], images.label[row], names[k], margin)
        for row, k, margin in zip(rows.tolist(), suggested.tolist(), margins.tolist(), strict=True)
    ]
    return LabelCheck(len(training.targets), suspects, None, None, remark=remark)


def _shared_groups(images: ImageTable, rows: NDArray[np.int64]) -> int:
    """Return how many of some images are outside of ``train``, and of a group that is in it."""
    train, none = images.split.equals("train")[rows], images.split.equals("")[rows]
    return count_shared_groups(images, rows[~train & ~none], among=rows[train])


def _about_as_good(result: FitResult) -> list[float]:
    """Return the values of C within a standard error of the best, in ascending order."""
    assert result.search is not None
    best, candidates = result.search.best, result.search.candidates
    return [one.c for one in candidates if one.rounded_mean >= best.threshold]


def _examined(
    cache: Cache, features: Features, images: ImageTable, rows: NDArray[np.int64]
) -> Examined:
    return Examined(
        cache=str(cache.path),
        images=SourceSummary.from_table(images.take(rows)),
        layers=features.layers,
        size=sum(features.sizes(cache)),
        without_codes=len(images) - len(rows),
        averaged="none" in map(cache.spec.pool_of, features.layers),
    )
