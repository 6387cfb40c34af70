"""Labels and splits from the folders in an archive, by the rule for folders on a disk."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from bottleneck.data.categorical_column import CategoricalColumn
from bottleneck.data.sources.container_names import SPLIT_OF_WORD


def labels_and_splits(
    paths: Callable[[], Iterable[str]],
) -> tuple[CategoricalColumn, CategoricalColumn]:
    """Return the label and the split of each image by the folders in its path.

    Folders are classes. If those of the first level are named as splits are, and they stand alone
    or hold folders, they are splits, and the folders in them are classes. A folder that everything
    lies in is passed over, as when ``photos`` was packed as a whole.

    Parameters
    ----------
    paths : callable
        Returns the paths, with forward slashes, as often as it is called.

    Examples
    --------
    >>> label, split = labels_and_splits(lambda: ["x/train/cat/1.jpg", "x/Test/dog/2.jpg"])
    >>> label[:], split[:]
    (['cat', 'dog'], ['train', 'test'])
    """
    level, top = 0, _Top.of(paths(), 0)
    if top.is_wrapper:
        level, top = 1, _Top.of(paths(), 1)
    label, split = CategoricalColumn(), CategoricalColumn()
    if top.has_splits:
        label.extend(_folders(paths(), level + 1))
        split.extend(SPLIT_OF_WORD.get(f.lower(), f) for f in _folders(paths(), level))
    else:
        label.extend(_folders(paths(), level))
        split.extend("" for _ in paths())
    return label, split


@dataclass(frozen=True)
class _Top:
    """What lies at the top of all paths.

    Attributes
    ----------
    folders : dict of str to bool
        The folders, and whether any image is in a folder of theirs.
    shallow : bool
        Whether an image lies in one of the folders itself, or beside them.
    """

    folders: dict[str, bool]
    shallow: bool

    @classmethod
    def of(cls, paths: Iterable[str], level: int) -> "_Top":
        folders: dict[str, bool] = {}
        shallow = False
        for path in paths:
            first, *rest = path.split("/", level + 2)[level:]
            shallow |= len(rest) < 2
            if rest:
                folders[first] = folders.get(first, False) or len(rest) == 2
        return cls(folders, shallow)

    @property
    def has_splits(self) -> bool:
        """Whether the folders are splits, not classes one of which is called ``train``."""
        named = [name for name in self.folders if name.lower() in SPLIT_OF_WORD]
        alone = len(named) == len(self.folders)
        return bool(named) and (alone or any(self.folders[name] for name in named))

    @property
    def is_wrapper(self) -> bool:
        """Whether everything lies in a folder that is neither a split nor a class."""
        return len(self.folders) == 1 and not self.shallow and not self.has_splits


def _folders(paths: Iterable[str], level: int) -> Iterator[str]:
    """Yield the folder at a level of each path; empty text where there is none."""
    for path in paths:
        parts = path.split("/", level + 1)
        yield parts[level] if len(parts) > level + 1 else ""
