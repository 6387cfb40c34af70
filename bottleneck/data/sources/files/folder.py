"""Find the image files below a folder, with labels and splits from the names of its folders."""

import os
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from bottleneck.data.decoding.formats import image_suffixes
from bottleneck.data.sources.cache_folder import is_cache_folder
from bottleneck.data.sources.files.folder_layout import (
    FolderLayout,
    is_folder,
    is_hidden,
    list_folder_on_disk,
    listing,
    read_layout,
)
from bottleneck.data.sources.files.folder_nesting import (
    remark_on_nesting,
    require_no_splits_below,
)
from bottleneck.data.sources.notes import PassedOver, SourceNotes
from bottleneck.data.table.blocks import in_blocks
from bottleneck.data.table.image_table import TextColumns

_Inode = tuple[int, int]  # device, number


def read_folder(root: Path, *, labels: bool = True) -> tuple[TextColumns, SourceNotes]:
    """Return the columns of all image files below a folder, sorted by path.

    Hidden files and folders are ignored, caches are passed over, and links are followed.

    Parameters
    ----------
    root : Path
        If its folders are named as splits are, these are splits, and the folders below them are
        classes; `bottleneck.data.sources.files.folder_layout` has the rules. Otherwise its folders
        are classes. Images directly in it have no label.
    labels : bool
        Whether folders give labels and splits at all. If not, none are refused.

    Returns
    -------
    columns : TextColumns
        Paths are relative to `root`; groups are empty.
    notes : SourceNotes
        Files and caches that were passed over, class folders without an image, names that were
        translated.

    Raises
    ------
    LabelsError
        Folders look like splits, but which splits they are is ambiguous.
    OSError
        A folder cannot be listed.

    Examples
    --------
    >>> columns, notes = read_folder(Path("data/digits"))
    >>> columns.path[0], columns.label[0], columns.split[0], notes.passed_over_text()
    ('test/5/0015.png', '5', 'test', '')
    """
    on_disk = partial(list_folder_on_disk, is_image=is_image_name)
    listing = _Listing(read_layout(root, on_disk) if labels else FolderLayout(root, flat=True))
    columns = TextColumns.empty()
    for some in in_blocks(listing.rows()):
        columns.extend(zip(*some, strict=True))
    notes = listing.notes()
    if labels and not listing.layout.splits:
        remark = remark_on_nesting(root, listing.nested)
        require_no_splits_below(root, listing.nested)
        notes = notes.with_remarks(filter(None, [remark]))
    return columns, notes


class _Listing:
    """One pass over a folder: rows of images, and what was passed over."""

    def __init__(self, layout: FolderLayout) -> None:
        self.layout = layout
        self.nested: set[tuple[str, str]] = set()  # folders at the two first levels
        self._with_images: set[str] = set()
        self._passed_over = PassedOver()
        self._caches: list[str] = []

    def rows(self) -> Iterator[tuple[str, str, str, str]]:
        """Yield path, label, split and group of each image."""
        known: str | None = None
        label = split = ""
        for path in _walk(str(self.layout.root), self._pass_over):
            folder = path.rpartition("/")[0]
            if folder != known:  # rows of one folder follow each other
                known = folder
                label, split, class_folder = self.layout.place(folder)
                self._with_images.add(class_folder)
                outer, _, rest = folder.partition("/")
                if rest:
                    self.nested.add((outer, rest.partition("/")[0]))
            yield path, label, split, ""

    def notes(self) -> SourceNotes:
        """Return what was found beside the images."""
        empty = [name for name in self.layout.class_folders if name not in self._with_images]
        caches = [f"caches that are passed over: {listing(self._caches)}"] if self._caches else []
        return self._passed_over.notes(empty, (*self.layout.remarks, *caches))

    def _pass_over(self, path: str) -> None:
        folder, _, name = path.rpartition("/")
        if name:
            self._passed_over.add(name, self.layout.place(folder)[2])
        else:
            self._caches.append(folder)


def _walk(
    folder: str,
    pass_over: Callable[[str], None],
    prefix: str = "",
    above: frozenset[_Inode] = frozenset(),
) -> Iterator[str]:
    """Yield the paths of the image files below a folder, sorted; `above` breaks cycles of links.

    Other files are passed over, and so are caches, with a slash behind their names.
    """
    status = os.stat(folder)  # noqa: PTH116  (a Path for each of a million files is slow)
    inode = (status.st_dev, status.st_ino)
    if inode in above:
        return
    with os.scandir(folder) as entries:
        shown = [entry for entry in entries if not is_hidden(entry.name)]
    # With its slash, a folder is sorted as the paths in it.
    named = sorted((f"{e.name}/" if is_folder(e) else e.name, e.path) for e in shown)
    for name, path in named:
        if name.endswith("/") and not is_cache_folder(path):
            yield from _walk(path, pass_over, prefix + name, above | {inode})
        elif is_image_name(name):
            yield prefix + name
        else:
            pass_over(prefix + name)


def is_image_name(name: str) -> bool:
    """Return whether a file name has the suffix of an image format.

    Examples
    --------
    >>> is_image_name("1.JPG"), is_image_name("notes.txt")
    (True, False)
    """
    return os.path.splitext(name)[1].lower() in image_suffixes()  # noqa: PTH122  (millions of names)
