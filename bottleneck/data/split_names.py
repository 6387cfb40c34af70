"""The usual names of splits: ``Training``, ``valid``, ``seg_test``, ``train2017`` and others."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

SPLITS = ("train", "val", "test")

_WORDS = {
    **dict.fromkeys(("train", "training", "trainset", "trn"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "validate", "valset"), "val"),
    **dict.fromkeys(("dev", "development", "devset"), "val"),
    **dict.fromkeys(("test", "tests", "testing", "testset", "tst"), "test"),
    **dict.fromkeys(("eval", "evaluation"), "test"),
}
# Words that say nothing of the split: `train_images` and `TrainSet` are `train`. Numbers neither.
_NEUTRAL = frozenset(
    (
        *("data", "dataset", "file", "files", "folder", "set", "split"),
        *("image", "images", "img", "imgs", "photo", "photos"),
        *("pic", "pics", "picture", "pictures"),
    )
)
_NEGATIONS = frozenset(("no", "non", "not", "un", "without"))
_BOOLEAN = frozenset(("is", "in", "for"))  # of a column `is_test`

_SEPARATORS = re.compile(r"[\W_]+")
_WORDS_OF_A_NAME = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[^A-Z\d]+|\d+")


@dataclass(frozen=True)
class SplitName:
    """A name that looks like a split's.

    Attributes
    ----------
    split : str
        The canonical name: ``"train"``, ``"val"`` or ``"test"``.
    affix : tuple of str
        The other words of the name in lower case, with ``""`` in the place of the split.
    """

    split: str
    affix: tuple[str, ...]

    @property
    def plain(self) -> bool:
        """Whether the name says nothing but the split."""
        return self.affix == ("",)


def parse_split(name: str) -> SplitName | None:
    """Return the split that a name says; None if it says none, or more than one.

    Case, blanks around the name, numbers and words such as ``images`` make no difference.

    Examples
    --------
    >>> parse_split("Validation "), parse_split("seg_train")
    (SplitName(split='val', affix=('',)), SplitName(split='train', affix=('seg', '')))
    >>> parse_split("train2017").plain, parse_split("trainer"), parse_split("train_and_test")
    (True, None, None)
    """
    words = [word for word in _words(name) if word not in _NEUTRAL and not word.isdigit()]
    found = [word for word in words if word in _WORDS]
    if len(found) != 1 or not _NEGATIONS.isdisjoint(words):
        return None
    affix = tuple("" if word in _WORDS else word for word in words)
    return SplitName(_WORDS[found[0]], affix)


def is_neutral(name: str) -> bool:
    """Return whether a name says nothing of what is in it, such as ``images``.

    Examples
    --------
    >>> is_neutral("images"), is_neutral("Image Data"), is_neutral("cat images"), is_neutral("1")
    (True, True, False, False)
    """
    words = _words(name)
    return bool(words) and _NEUTRAL.issuperset(words)


def canonical_split(value: str) -> str:
    """Return the canonical name of a split in a table; a name of another kind stays as it is.

    Examples
    --------
    >>> [canonical_split(value) for value in ("Training", " val", "PublicTest", "holdout", "")]
    ['train', 'val', 'test', 'holdout', '']
    """
    name = parse_split(value)
    return name.split if name else value.strip()


def is_split_flag(name: str) -> bool:
    """Return whether a column's name asks for a split that its values do not name: ``is_test``.

    Examples
    --------
    >>> is_split_flag("is_test"), is_split_flag("is_training_image"), is_split_flag("test score")
    (True, True, False)
    """
    words = [word for word in _words(name) if word not in _NEUTRAL | _BOOLEAN]
    return bool(words) and all(word in _WORDS for word in words)


def translations(names: Iterable[tuple[str, str]]) -> tuple[str, ...]:
    """Return a sentence on the names that were translated, or none.

    Parameters
    ----------
    names : iterable of (str, str)
        A name as it was found, and the name of its split.

    Examples
    --------
    >>> translations([("seg_train", "train"), ("val", "val"), ("Test", "test")])
    ("splits by their usual names: 'seg_train' is train, 'Test' is test",)
    """
    changed = [f"{found!r} is {split}" for found, split in names if found != split]
    return (f"splits by their usual names: {', '.join(changed)}",) if changed else ()


def _words(name: str) -> list[str]:
    parts = (_WORDS_OF_A_NAME.findall(part) for part in _SEPARATORS.split(name))
    return [word.casefold() for part in parts for word in part]
