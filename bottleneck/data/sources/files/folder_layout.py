"""Tell whether the folders below a root are splits or classes; refuse an ambiguous layout."""

import os
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from bottleneck.data.sources.cache_folder import is_cache_folder
from bottleneck.data.split_names import SplitName, is_neutral, parse_split, translations
from bottleneck.errors import LabelsError

ListFolder = Callable[[Path], tuple[list[str], bool]]

_NO_IMAGES = frozenset(("__MACOSX",))  # of an archive made by macOS: hidden files alone

_MOST_NAMED = 4
_REMEDY = "rename them, or list the images in a CSV with the columns path, label and split"


@dataclass(frozen=True)
class FolderLayout:
    """What the folders at the first levels below a root are.

    Attributes
    ----------
    root : Path
    splits : mapping of str to str
        The split of each folder of the first level; empty if these folders are classes.
    label_at : mapping of str to int
        The level of the class folders below each folder of the first level, counted from 0.
    class_folders : tuple of str
        Relative paths of the class folders.
    remarks : tuple of str
        What was understood in another way than it is written.
    flat : bool
        Whether folders mean nothing.
    """

    root: Path
    splits: Mapping[str, str] = field(default_factory=dict)
    label_at: Mapping[str, int] = field(default_factory=dict)
    class_folders: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()
    flat: bool = False

    def place(self, folder: str) -> tuple[str, str, str]:
        """Return the label, the split and the class folder of the files in a folder.

        Parameters
        ----------
        folder : str
            Relative to the root; empty for the root itself.
        """
        names = folder.split("/") if folder and not self.flat else []
        at = self.label_at.get(names[0], 0) if names else 0
        split = self.splits.get(names[0], "") if names else ""
        if len(names) <= at:
            return "", split, ""
        return names[at], split, "/".join(names[: at + 1])


@dataclass(frozen=True)
class _Folder:
    """A folder of the first level: its name, its shown folders, and whether it holds images.

    `below` is the folder that holds the classes: of ``train/train/ants`` that is ``train/train``.
    """

    name: str
    below: str
    folders: tuple[str, ...]
    images: bool


def read_layout(root: Path, list_folder: ListFolder) -> FolderLayout:
    """Return what the folders below a root are.

    Folders are splits if their names are usual names of splits, alone or with a common prefix or
    suffix, and if they hold class folders or there are no other folders. Other folders beside such
    splits are splits too. A single folder called ``train`` beside class folders is a class.

    Parameters
    ----------
    root : Path
    list_folder : callable
        Lists the root or a folder below it: the names of its folders, sorted, and whether it holds
        images. `list_folder_on_disk` is one for a disk.

    Raises
    ------
    LabelsError
        Folders look like splits, but which splits they are, or whether they are any, is ambiguous.
    OSError
        A folder cannot be listed.
    """
    names = list_folder(root)[0]
    split_names = {name: parsed for name in names if (parsed := parse_split(name))}
    named = splits_among(split_names)
    if not named and len(names) == 1 and split_names:  # `seg_train` alone
        named = names if list_folder(root / names[0])[0] else []
    if not named:
        return FolderLayout(root, class_folders=tuple(names))
    folders = [_open_split_folder(root, name, split_names.get(name), list_folder) for name in names]
    chosen = [folder for folder in folders if folder.name in named]
    others = [f for f in folders if f.name not in named and (f.folders or f.images)]
    splits = {folder.name: split_names[folder.name].split for folder in chosen}
    if not _are_splits(root, chosen, others, set(splits.values())):
        remarks = tuple(f"the folder {name!r} is a class, not a split" for name in named)
        return FolderLayout(root, class_folders=tuple(names), remarks=remarks)
    _require_distinct(root, splits)
    unclear = [folder.name for folder in others if folder.name in split_names]
    if unclear:
        raise LabelsError(
            f"{root}: {_look_like(unclear, 'split')} as well as {listing(named)}: {_REMEDY}"
        )
    return FolderLayout(
        root,
        splits={folder.name: splits.get(folder.name, folder.name) for folder in folders},
        label_at={folder.name: folder.below.count("/") + 1 for folder in folders},
        class_folders=tuple(f"{f.below}/{name}" for f in folders for name in f.folders),
        remarks=(*translations(splits.items()), *_passed_over(folders)),
    )


def _passed_over(folders: Iterable[_Folder]) -> Iterator[str]:
    inner = [folder.below for folder in folders if "/" in folder.below]
    if inner:
        yield f"folders that are passed over: {listing(inner)}"


def splits_among(split_names: Mapping[str, SplitName]) -> list[str]:
    """Return the names that are splits by themselves, or together by what they have in common."""
    alike = defaultdict(list)
    for name, parsed in split_names.items():
        alike[parsed.affix].append(name)
    return sorted(
        name
        for names in alike.values()
        if split_names[names[0]].plain or len({split_names[name].split for name in names}) > 1
        for name in names
    )


def _are_splits(
    root: Path, chosen: list[_Folder], others: list[_Folder], splits: Collection[str]
) -> bool:
    """Return whether folders with the names of splits are splits, not classes."""
    if not others:
        return True
    classes = {name for folder in chosen for name in folder.folders}
    flat = [folder.name for folder in others if not folder.folders]
    if len(splits) > 1 and classes:
        strange = sorted(classes.intersection(flat))  # ants/ beside train/ants/
    elif len(splits) == 1 and not classes:
        return False  # a class `train` of photographs, beside one of ships
    else:
        # One split beside other folders: another split has the same classes in it.
        known = [folder.name for folder in others if classes.intersection(folder.folders)]
        strange = [folder.name for folder in others if folder.name not in known]
    if strange:
        raise LabelsError(
            f"{root}: {_look_like([folder.name for folder in chosen], 'split')}, and "
            f"{_look_like(strange, 'class')}: {_REMEDY}"
        )
    return True


def _require_distinct(root: Path, splits: Mapping[str, str]) -> None:
    by_split = defaultdict(list)
    for name, split in splits.items():
        by_split[split].append(name)
    for split, names in by_split.items():
        if len(names) > 1:
            raise LabelsError(
                f"{root}: {listing(names)} all look like the split {split!r}: put their images "
                f"into one folder, or {_REMEDY}"
            )


def _open_split_folder(
    root: Path, name: str, split: SplitName | None, list_folder: ListFolder
) -> _Folder:
    """List a folder, or the only folder inside it.

    The inner one is listed if the folder is a split, and the inner one is called like the same
    split or has a neutral name such as ``images``.
    """
    folders, images = list_folder(root / name)
    below = name
    while split and len(folders) == 1 and not images:
        inner = parse_split(folders[0])
        if not (is_neutral(folders[0]) or (inner and inner.split == split.split)):
            break
        below = f"{below}/{folders[0]}"
        folders, images = list_folder(root / below)
    return _Folder(name, below, tuple(folders), images)


def list_folder_on_disk(folder: Path, is_image: Callable[[str], bool]) -> tuple[list[str], bool]:
    """Return the names of the shown folders in a folder, sorted, and whether it holds images.

    A cache is no such folder.
    """
    folders, images = [], False
    with os.scandir(folder) as entries:
        for entry in entries:
            if is_hidden(entry.name) or entry.name in _NO_IMAGES:
                continue
            if is_folder(entry):
                if not is_cache_folder(entry.path):
                    folders.append(entry.name)
            elif not images:
                images = is_image(entry.name)
    return sorted(folders), images


def is_folder(entry: os.DirEntry[str]) -> bool:
    """Return whether an entry is a folder or a link to one."""
    try:
        return entry.is_dir()
    except OSError:
        return False  # a broken link; if it has the name of an image, it becomes a row


def is_hidden(name: str) -> bool:
    """Return whether a name is hidden."""
    return name.startswith(".")


def listing(names: Collection[str]) -> str:
    """Return the first of some names."""
    shown = ", ".join(map(repr, list(names)[:_MOST_NAMED]))
    return f"{shown}, …" if len(names) > _MOST_NAMED else shown


def _look_like(names: Collection[str], what: str) -> str:
    if len(names) == 1:
        return f"{listing(names)} looks like a {what}"
    return f"{listing(names)} look like {what}{'es' if what.endswith('s') else 's'}"
