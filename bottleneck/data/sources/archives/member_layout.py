"""Labels and splits from the folders in archives, by the rule for folders on a disk."""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from bottleneck.data.sources.files.folder_layout import FolderLayout, read_layout
from bottleneck.data.sources.files.folder_nesting import require_no_splits_below
from bottleneck.data.split_names import parse_split
from bottleneck.data.table.categorical_column import CategoricalColumn

_LEVELS = 3  # of folders that the rule looks at


class MemberLabels(NamedTuple):
    """Label and split of each image, and remarks on names that were translated."""

    label: CategoricalColumn
    split: CategoricalColumn
    remarks: tuple[str, ...]


def labels_of_members(root: Path, paths: Callable[[], Iterable[str]]) -> MemberLabels:
    """Return the label and the split of each image by the folders in its path.

    The rule is that of `bottleneck.data.sources.files.folder_layout`. A folder that everything lies
    in is passed over, as when ``photos`` was packed as a whole.

    Parameters
    ----------
    root : Path
        What the paths are in, for messages.
    paths : callable
        Returns the paths, with forward slashes, as often as it is called.

    Raises
    ------
    LabelsError
        Folders look like splits, but which splits they are is ambiguous.

    Examples
    --------
    >>> paths = ["x/train/cat/1.jpg", "x/Test/dog/2.jpg"]
    >>> label, split, remarks = labels_of_members(Path("a.tar"), lambda: paths)
    >>> label[:], split[:], remarks[0]
    (['cat', 'dog'], ['train', 'test'], "everything lies in the folder 'x', which is passed over")
    """
    tree, wrapper = _Tree(map(_below, paths())), ""
    while name := tree.wrapper:  # of `a/b/train/cat/1.jpg` these are a and b
        wrapper += f"{name}/"
        tree = _Tree(_below(path).removeprefix(wrapper) for path in paths())
    layout = read_layout(root, lambda folder: tree.list(_relative(folder, root)))
    if not layout.splits:
        require_no_splits_below(root, tree.nested())
    label, split = CategoricalColumn(), CategoricalColumn()
    for column, part in ((label, 0), (split, 1)):
        column.extend(_places(layout, (_below(p).removeprefix(wrapper) for p in paths()), part))
    passed = f"everything lies in the folder {wrapper[:-1]!r}, which is passed over"
    return MemberLabels(label, split, ((passed,) if wrapper else ()) + layout.remarks)


def _below(path: str) -> str:
    """Return a member's path without ``../`` before it, which is no folder of the archive."""
    while path.startswith("../"):
        path = path[3:]
    return path


def _places(layout: FolderLayout, paths: Iterable[str], part: int) -> Iterator[str]:
    known, value = None, ""
    for path in paths:
        folder = path.rpartition("/")[0]
        if folder != known:  # members of one folder mostly follow each other
            known, value = folder, layout.place(folder)[part]
        yield value


def _relative(folder: Path, root: Path) -> str:
    return "" if folder == root else folder.relative_to(root).as_posix()


class _Tree:
    """The folders of the first levels in some paths."""

    def __init__(self, paths: Iterable[str]) -> None:
        self._folders: dict[str, set[str]] = {"": set()}
        self._with_images: set[str] = set()
        known = None
        for path in paths:
            folder = path.rpartition("/")[0]
            if folder != known:
                known = folder
                self._add(folder.split("/") if folder else [])

    def _add(self, names: list[str]) -> None:
        above = ""
        for name in names[:_LEVELS]:
            self._folders.setdefault(above, set()).add(name)
            above = f"{above}/{name}" if above else name
        if len(names) <= _LEVELS:
            self._with_images.add(above)

    def list(self, folder: str) -> tuple[list[str], bool]:
        """Return the names of the folders in a folder, sorted, and whether it holds images."""
        return sorted(self._folders.get(folder, ())), folder in self._with_images

    def nested(self) -> Iterator[tuple[str, str]]:
        """Yield the folders of the first level with those in them."""
        for outer in self._folders[""]:
            for inner in self._folders.get(outer, ()):
                yield outer, inner

    @property
    def wrapper(self) -> str:
        """The folder that everything lies in, if it is neither a split nor a class; or empty."""
        folders = self._folders[""]
        if len(folders) != 1 or "" in self._with_images:
            return ""
        (name,) = folders
        is_other = name in self._with_images or parse_split(name)
        return "" if is_other else name
