"""Notice folders that are one level too high or too low, where none of a root's are splits."""

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path

from bottleneck.data.sources.files.folder_layout import (
    list_folder_on_disk,
    listing,
    splits_among,
)
from bottleneck.data.split_names import parse_split
from bottleneck.errors import LabelsError

Nested = Iterable[tuple[str, str]]

_FOLD = re.compile(r"(?:fold|split|cv)[\W_]*\d+", re.IGNORECASE)
_IN_A_CSV = "list the images in a CSV with the columns path, label and split"


def require_no_splits_below(root: Path, nested: Nested) -> None:
    """Refuse class folders that hold splits or are splits of a kind, and folds in place of classes.

    Parameters
    ----------
    root : Path
        A folder whose folders of the first level are classes.
    nested : iterable of (str, str)
        A folder of the first level with images below it, and one in it.

    Raises
    ------
    LabelsError
        A folder holds at least two different splits, all folders are numbered folds, or folders
        with the same folders in them have names such as ``train-clean`` and ``test-noisy``.
    """
    below = _by_outer(nested)
    for outer, folders in below.items():
        found = _splits_in(folders)
        if found:
            raise LabelsError(
                f"{root}: the folder {outer!r} holds {listing(found)}, which look like splits: put "
                f"the splits above the classes ({found[-1]}/{outer}), or {_IN_A_CSV}"
            )
    if len(below) > 1 and all(_FOLD.fullmatch(name) for name in below):
        raise LabelsError(
            f"{root}: {listing(list(below))} look like folds, not like classes: put the class "
            f"folders of all folds together, or {_IN_A_CSV} or group"
        )
    splits = {parsed.split for name in below if (parsed := parse_split(name))}
    if len(splits) > 1 and _same_folders(below):
        raise LabelsError(
            f"{root}: {listing(list(below))} look like splits, since each holds "
            f"{listing(_inner(below))}: call them train, val and test, or {_IN_A_CSV}"
        )


def remark_on_nesting(root: Path, nested: Nested) -> str:
    """Say that classes may be a level lower; refuse splits below a single folder.

    Parameters
    ----------
    root : Path
        A folder on the disk whose folders of the first level are classes.
    nested : iterable of (str, str)
        A folder of the first level with images below it, and one in it.

    Returns
    -------
    str
        Empty if there is nothing to say.

    Raises
    ------
    LabelsError
        All images are in one folder, at some level, that holds splits.
    """
    below = _by_outer(nested)
    alone, _ = list_folder_on_disk(root, lambda _name: False)
    if len(alone) == len(below) == 1:
        inner = root / alone[0]
        folders, images = list_folder_on_disk(inner, lambda _name: True)
        while len(folders) == 1 and not images:
            inner /= folders[0]
            folders, images = list_folder_on_disk(inner, lambda _name: True)
        if found := _splits_in(folders):
            name = inner.relative_to(root).as_posix()
            raise LabelsError(
                f"{root}: the folder {name!r} holds {listing(found)}, which look like splits: give "
                f"{inner} in place of {root}"
            )
        if len(folders) > 1 and not images:
            return (
                f"the only class is {alone[0]!r}: if the classes are {listing(folders)}, give "
                f"{inner} in place of {root}"
            )
    elif _same_folders(below):
        return (
            f"the classes {listing(list(below))} hold the same folders, {listing(_inner(below))}: "
            f"if these are the classes, {_IN_A_CSV}"
        )
    return ""


def _by_outer(nested: Nested) -> dict[str, list[str]]:
    below = defaultdict(list)
    for outer, inner in sorted(nested):
        below[outer].append(inner)
    return dict(below)


def _splits_in(folders: Iterable[str]) -> list[str]:
    """Return the folders that are splits, if there are at least two different ones."""
    split_names = {name: parsed for name in folders if (parsed := parse_split(name))}
    found = splits_among(split_names)
    return found if len({split_names[name].split for name in found}) > 1 else []


def _same_folders(below: Mapping[str, list[str]]) -> bool:
    first, *others = below.values() if below else [[]]
    return len(first) > 1 and bool(others) and all(folders == first for folders in others)


def _inner(below: Mapping[str, list[str]]) -> list[str]:
    return next(iter(below.values()))
