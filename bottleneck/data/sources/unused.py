"""Say which columns, datasets or keys of a source are not used; refuse those that tell splits."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from bottleneck.data.split_names import is_split_flag, parse_split
from bottleneck.errors import ImagesTableError

_MOST_SHOWN = 8


def unused_remark(what: str, names: Sequence[str]) -> tuple[str, ...]:
    """Return a sentence that names what is not used, or none.

    Parameters
    ----------
    what : str
        Such as ``"columns"``.
    names : sequence of str

    Examples
    --------
    >>> unused_remark("columns", ["camera", "date"])
    ("columns that are not used: 'camera', 'date'",)
    """
    shown = [repr(name) for name in names[:_MOST_SHOWN]]
    if len(names) > _MOST_SHOWN:
        shown.append(f"… ({len(names)} in all)")
    return (f"{what} that are not used: {', '.join(shown)}",) if shown else ()


def require_no_flags(file: Path, what: str, names: Iterable[str]) -> None:
    """Refuse something such as ``is_test`` where no splits are told.

    The rows that it marks must not be trained on in silence.

    Parameters
    ----------
    file, what
        For the message.
    names : iterable of str
        Of what is not used.

    Raises
    ------
    ImagesTableError
        A name asks for a split that its values do not name.

    Examples
    --------
    >>> require_no_flags(Path("a.csv"), "column", ["camera", "is_test"])
    Traceback (most recent call last):
    bottleneck.errors.ImagesTableError: a.csv: the column 'is_test' looks like a split, ...
    """
    for name in names:
        if is_split_flag(name):
            raise ImagesTableError(
                f"{file}: the {what} {name.strip()!r} looks like a split, but its name is not "
                "understood: name it split, with the values train, val and test"
            )


def require_no_split_values(file: Path, what: str, name: str, values: Iterable[str]) -> None:
    """Refuse something unused whose values are names of splits, where no splits are told.

    Parameters
    ----------
    file, what, name
        For the message.
    values : iterable of str
        Distinct ones.

    Raises
    ------
    ImagesTableError
        All values are names of splits, of at least two.

    Examples
    --------
    >>> require_no_split_values(Path("a.csv"), "column", "stage", ["train", "Testing"])
    Traceback (most recent call last):
    bottleneck.errors.ImagesTableError: a.csv: the column 'stage' holds 'Testing', 'train', ...
    """
    named = {value for value in values if value.strip()}
    looks = [parse_split(value) for value in named]
    if all(look and look.plain for look in looks) and len(set(looks)) > 1:
        shown = ", ".join(sorted(map(repr, named)))
        raise ImagesTableError(
            f"{file}: the {what} {name!r} holds {shown}, which look like splits: name it split, or "
            "remove it"
        )
