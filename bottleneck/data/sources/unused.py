"""Name the columns, datasets or keys that are not used; refuse those that tell splits."""

import re
from collections.abc import Collection, Iterable
from pathlib import Path

from bottleneck.data.split_names import is_split_flag, parse_split
from bottleneck.errors import ImagesTableError

_MOST_SHOWN = 8
_UNNAMED = re.compile(r"[\W_]*(unnamed[\W\d_]+)?", re.IGNORECASE)  # the index of a data frame


def note_unused(
    file: Path, what: str, unused: Collection[tuple[str, Iterable[str]]], *, has_splits: bool
) -> tuple[str, ...]:
    """Return a sentence that names what is not used, or none.

    Where there is no column of splits, refuse a column such as ``is_test``, or one whose values are
    all names of splits. Otherwise the rows that it marks as test images would be trained on.

    Parameters
    ----------
    file : Path
        For messages.
    what : str
        Such as ``"column"``.
    unused : collection of (str, iterable of str)
        Names, and the distinct values of each as far as they are known.
    has_splits : bool
        Whether something that is used tells the splits.

    Raises
    ------
    ImagesTableError
        Something that is not used tells splits, and nothing else does.

    Examples
    --------
    >>> note_unused(Path("a.csv"), "column", [("camera", ()), ("date", ())], has_splits=False)
    ("columns that are not used: 'camera', 'date'",)
    >>> note_unused(Path("a.csv"), "column", [("is_test", "01")], has_splits=False)
    Traceback (most recent call last):
    bottleneck.errors.ImagesTableError: a.csv: the column 'is_test' looks like a split, ...
    """
    if not has_splits:
        for name, values in unused:
            _require_no_splits(f"{file}: the {what} {name.strip()!r}", name, values)
    names = [repr(name.strip()) for name, _ in unused if not _UNNAMED.fullmatch(name)]
    if len(names) > _MOST_SHOWN:
        names[_MOST_SHOWN:] = [f"… ({len(names)} in all)"]
    return (f"{what}s that are not used: {', '.join(names)}",) if names else ()


def _require_no_splits(subject: str, name: str, values: Iterable[str]) -> None:
    if is_split_flag(name):
        raise ImagesTableError(
            f"{subject} looks like a split, but its name is not understood: name it split, with "
            "the values train, val and test"
        )
    named = {value for value in values if value.strip()}
    splits = [parse_split(value) for value in named]
    if all(split and split.plain for split in splits) and len(set(splits)) > 1:
        shown = ", ".join(sorted(map(repr, named)))
        raise ImagesTableError(
            f"{subject} holds {shown}, which look like splits: name it split, or remove it"
        )
