"""Read images from tar archives: WebDataset's shards, and archives of class folders."""

import posixpath
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain, repeat
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bottleneck.data.sources.archives.member_layout import labels_of_members
from bottleneck.data.sources.archives.sidecars import Sidecars
from bottleneck.data.sources.archives.tar_headers import TarEntry, TarReader
from bottleneck.data.sources.container_names import split_of_container
from bottleneck.data.sources.files.folder import is_image_name
from bottleneck.data.sources.notes import PassedOver, SourceNotes
from bottleneck.data.sources.parts import locate
from bottleneck.data.sources.random_access import FileStamp, PartReader, RandomAccessFile
from bottleneck.data.split_names import canonical_split
from bottleneck.data.table.categorical_column import CategoricalColumn
from bottleneck.data.table.image_table import ImageTable, TextColumns
from bottleneck.data.table.string_column import StringColumn
from bottleneck.errors import ImageError
from bottleneck.runtime import format_count

_THREADS = 8  # that list archives: on a network disk most of the time is spent waiting

_NO_TARGET, _SPARSE = -1, -2  # offsets of members that cannot be read
_UNREADABLE = {
    _NO_TARGET: "a link to something that is not in the archive",
    _SPARSE: "it is stored with holes, as a sparse file",
}


def open_tars(root: Path, names: tuple[str, ...], *, labels: bool = True) -> "TarMembers":
    """Look through archives, which must not be compressed.

    Parameters
    ----------
    root : Path
    names : tuple of str
        The archives, relative to `root`.
    labels : bool
        Whether folders in them give labels and splits. If not, none are refused.

    Raises
    ------
    ImagesNotFoundError
        An archive does not exist.
    ImagesTableError
        An archive is compressed or malformed, or is cut off in something else than an image.
    LabelsError
        Folders look like splits, but which splits they are is ambiguous.
    OSError
        The storage fails.

    Examples
    --------
    >>> import tarfile, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with tarfile.open(f"{folder}/a.tar", "w") as archive:
    ...         archive.add("data/digits/test/5/0015.png", "5/0015.png")
    ...     members = open_tars(Path(folder), ("a.tar",))
    ...     members.table.path[0], members.table.label[0], members.read(0)[1:4]
    ('a.tar/5/0015.png', '5', b'PNG')
    """
    if len(names) == 1:
        found = [_look_through(root, names[0])]
    else:
        from concurrent.futures import ThreadPoolExecutor  # it and its threads take 3 MiB

        with ThreadPoolExecutor(_THREADS) as threads:
            found = list(threads.map(lambda name: _look_through(root, name), names))
    return TarMembers(root, found, labels=labels)


def open_tars_unlabelled(root: Path, names: tuple[str, ...]) -> "TarMembers":
    """Look through archives whose folders mean nothing; see `open_tars`."""
    return open_tars(root, names, labels=False)


@dataclass(frozen=True)
class _Archive:
    """The images of one archive.

    Attributes
    ----------
    name : str
    stamp : FileStamp
    count : int
        Its members, images or not.
    has_end_marker : bool
        Whether blocks of zeros follow its last member.
    texts : TextColumns
        A path is the archive's name and the member's, as in the table of images. Label, split and
        group are those that files beside the images give.
    offset, size : ndarray of int64, shape (n,)
    notes : SourceNotes
        Members that were passed over.
    """

    name: str
    stamp: FileStamp
    count: int
    has_end_marker: bool
    texts: TextColumns
    offset: NDArray[np.int64]
    size: NDArray[np.int64]
    notes: SourceNotes

    def members(self) -> Iterator[str]:
        """Yield the names of the images in the archive."""
        return (path[len(self.name) + 1 :] for path in self.texts.path)


class TarMembers:
    """The images of some archives, in the order of the archives and of their members.

    Parameters
    ----------
    root : Path
    archives : list
        What was found in each archive.
    labels : bool
        Whether folders give labels and splits.

    Attributes
    ----------
    table : ImageTable
    notes : SourceNotes
        What was found beside the images.
    """

    def __init__(self, root: Path, archives: list[_Archive], *, labels: bool) -> None:
        self._ends = np.cumsum([len(archive.texts.path) for archive in archives])
        self._counts = [archive.count for archive in archives]
        self._stamps = [archive.stamp for archive in archives]
        self._offset = _join([archive.offset for archive in archives])
        self._parts = PartReader(self._stamps)
        times = _join([np.broadcast_to(a.stamp.mtime_ns, len(a.size)) for a in archives])
        size = _join([archive.size for archive in archives])
        size[self._offset < 0] = -1
        columns, remarks = _columns(root, archives, labels=labels)
        self.table = ImageTable(*columns, size, times)
        notes = SourceNotes.merge(archive.notes for archive in archives)
        self.notes = notes.with_remarks((*remarks, *_remark_on_ends(archives)))

    def read(self, member: int) -> bytes:
        """Return the bytes of an image; see `bottleneck.data.image_source.ImageReader`."""
        file, _ = locate(self._ends, member)
        offset, size = int(self._offset[member]), int(self.table.size[member])
        if offset in _UNREADABLE:
            raise ImageError(f"cannot be read: {_UNREADABLE[offset]}")
        stamp = self._stamps[file]
        if offset + size > stamp.size:
            raise ImageError(
                f"cannot be read: {stamp.path.name} is cut off at byte {stamp.size}, in this "
                f"member, the last of {self._counts[file]} that were found"
            )
        return self._parts.read(file, offset, size)


def _remark_on_ends(archives: list[_Archive]) -> tuple[str, ...]:
    """Name archives without an end-of-archive marker: they may be cut off between two members."""
    unmarked = [archive for archive in archives if not archive.has_end_marker]
    if not unmarked:
        return ()
    first = f"{unmarked[0].name!r} behind {format_count(unmarked[0].count, 'member')}"
    have = format_count(len(unmarked), "archive has", "archives have")
    return (
        f"{have} no end-of-archive marker, such as {first}: cut off, or its program writes none",
    )


def _join(parts: list[NDArray[np.int64]]) -> NDArray[np.int64]:
    """Return the values of all archives; those of a single one are not copied."""
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def _look_through(root: Path, name: str) -> _Archive:
    return _Scan(root / name).archive(name)


class _Scan:
    """One pass over an archive. Names go into a compressed column as they are found."""

    def __init__(self, path: Path) -> None:
        self._file = RandomAccessFile(path)
        self._reader, self._sidecars = TarReader(self._file), Sidecars(path)
        # 8 bytes per value, where a list of int takes 40
        self._offset, self._size = array("q"), array("q")
        self._image_links: dict[int, str] = {}  # row: the name that it leads to
        self._sidecar_links: dict[str, str] = {}
        self._passed_over = PassedOver()

    def archive(self, name: str) -> _Archive:
        names = StringColumn(self._names())
        self._follow_links()
        paths = StringColumn(f"{name}/{member}" for member in names)
        return _Archive(
            name,
            self._file.stamp,
            self._reader.count,
            self._reader.has_end_marker,
            TextColumns(paths, *self._sidecars.columns(names)),
            np.asarray(self._offset),
            np.asarray(self._size),
            self._passed_over.notes((), self._sidecars.remarks()),
        )

    def _names(self) -> Iterator[str]:
        reader, end = self._reader, self._file.stamp.size
        for entry in reader.entries():
            name = _normalised(entry.name)
            if entry.kind != "other" and is_image_name(name) and not _is_hidden(name):
                if entry.kind.endswith("link"):
                    self._image_links[len(self._offset)] = _target(entry, name)
                self._offset.append(_data_offset(entry))
                self._size.append(entry.size)
                yield name
            elif entry.offset + entry.size > end:
                raise reader.damage(f"it ends at byte {end}, in {entry.name!r}")
            elif entry.kind == "other" or _is_hidden(name):
                continue
            elif self._sidecars.takes(name):
                if entry.kind.endswith("link"):
                    self._sidecar_links[name] = _target(entry, name)
                else:
                    self._take_sidecar(name, entry)
            elif entry.kind == "file":
                self._passed_over.add(posixpath.basename(name), "")

    def _take_sidecar(self, name: str, entry: TarEntry | None) -> None:
        if entry and entry.kind == "file":
            count = min(entry.size, self._sidecars.most_bytes(name))
            self._sidecars.add(name, self._reader.read(entry.offset, count))
        else:
            self._sidecars.refuse(name, f"cannot be read: {_UNREADABLE[_data_offset(entry)]}")

    def _follow_links(self) -> None:
        """Give links the contents of the members that they lead to, which a second pass finds."""
        targets = {*self._image_links.values(), *self._sidecar_links.values()}
        if not targets:
            return
        found: dict[str, TarEntry] = {}
        for entry in TarReader(self._file).entries():
            name = _normalised(entry.name)
            if name in targets or entry.kind.endswith("link"):
                found[name] = entry
        for row, target in self._image_links.items():
            end = _resolve_link(target, found)
            self._offset[row], self._size[row] = _data_offset(end), end.size if end else 0
        for name, target in self._sidecar_links.items():
            self._take_sidecar(name, _resolve_link(target, found))


def _data_offset(entry: TarEntry | None) -> int:
    """Return the offset of a member's data; `_NO_TARGET` or `_SPARSE` if it cannot be read."""
    if entry is None:
        return _NO_TARGET
    return _SPARSE if entry.kind == "sparse" else entry.offset


def _normalised(name: str) -> str:
    """Return a name without ``./`` and empty parts; ``..`` stays, since it is only a name."""
    if name.startswith(("./", "/")) or "//" in name or "/./" in name:
        return "/".join(part for part in name.split("/") if part not in ("", "."))
    return name


def _is_hidden(name: str) -> bool:
    if not name.startswith(".") and "/." not in name:
        return False
    return any(part.startswith(".") and part != ".." for part in name.split("/"))


def _target(entry: TarEntry, name: str) -> str:
    if entry.kind == "hard link":
        return _normalised(entry.target)
    return posixpath.normpath(posixpath.join(posixpath.dirname(name), entry.target))


def _resolve_link(name: str, members: dict[str, TarEntry]) -> TarEntry | None:
    """Return the file that a chain of links leads to; None if it leads to none, or in a circle."""
    seen: set[str] = set()
    while (entry := members.get(name)) and entry.kind.endswith("link") and name not in seen:
        seen.add(name)
        name = _target(entry, name)
    return entry if entry and entry.kind in ("file", "sparse") else None


def _columns(
    root: Path, archives: list[_Archive], *, labels: bool
) -> tuple[TextColumns, tuple[str, ...]]:
    """Return the columns of all images, and remarks: files beside images go before folders."""
    if len(archives) == 1:  # nothing is copied
        root, texts = root / archives[0].name, archives[0].texts
    else:
        texts = TextColumns.empty()
        for archive in archives:
            texts.extend(archive.texts)
    label, split = texts.label, CategoricalColumn(map(canonical_split, texts.split))
    remarks: tuple[str, ...] = ()
    if labels and (label.is_blank or split.is_blank):
        found = labels_of_members(
            root, lambda: chain.from_iterable(archive.members() for archive in archives)
        )
        label, remarks = (found.label, found.remarks) if label.is_blank else (label, ())
        split = found.split if split.is_blank else split
    split = _with_splits_of_names(split, archives)
    return texts._replace(label=label, split=split), remarks


def _with_splits_of_names(split: CategoricalColumn, archives: list[_Archive]) -> CategoricalColumn:
    """Return the splits; where the images say none, those that the archives' names say."""
    if not split.is_blank:
        return split
    named = CategoricalColumn()
    for archive in archives:
        named.extend(repeat(split_of_container(archive.name), len(archive.size)))
    return named
