"""ContainerSource: images that lie in files which hold many, such as archives and arrays."""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from bottleneck.data.image_source import ImageReader
from bottleneck.data.sources.notes import SourceNotes
from bottleneck.data.table.image_table import ImageTable
from bottleneck.data.table.string_column import StringColumn
from bottleneck.data.table.text_matching import find_repeats, match_texts
from bottleneck.errors import ContainerError, ImageError, ImagesTableError

_GONE, _RELABELLED = -1, -2  # in place of a member

# Looks through container files, given by their folder and their names in it.
OpenMembers = Callable[[Path, tuple[str, ...]], ImageReader]


@dataclass
class _Scan:
    """What was found in containers, which sources of the same images share."""

    members: ImageReader | None = None
    repeated: bool = False  # after the table was made: the files may be others
    lock: threading.Lock = field(default_factory=threading.Lock)


@dataclass(frozen=True)
class ContainerSource:
    r"""Images that lie in files which hold many.

    A pickle of a source does not hold where each image lies: another process looks through the
    files again when it reads the first image. Where they were changed in between, an image that has
    another label, split or group there is not read: its name may be that of another image now.

    Parameters
    ----------
    root : Path
        The folder that the paths of `table` are relative to.
    names : tuple of str
        The container files, relative to `root`.
    table : ImageTable
        A path is the name of the container, and the name of the image in it.
    open_members : callable
        A function of a module, which looks through the containers. No `functools.partial`: two of
        the same are unequal, and so would be two sources.

    Examples
    --------
    >>> from bottleneck.data.sources.arrays.npz import open_npz
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     images = np.zeros((2, 3, 4), dtype=np.uint8)
    ...     np.savez(f"{folder}/a.npz", train_images=images, train_labels=[[7], [8]])
    ...     source = ContainerSource.open(Path(folder), ("a.npz",), open_npz)
    ...     source.table.path[1], source.table.label[1], source.read(1)[:11]
    ('a.npz/train/00001', '8', b'P5 4 3 255\n')
    """

    root: Path
    names: tuple[str, ...]
    table: ImageTable
    open_members: OpenMembers
    _scan: _Scan = field(default_factory=_Scan, repr=False, compare=False)

    @classmethod
    def open(cls, root: Path, names: tuple[str, ...], open_members: OpenMembers) -> Self:
        """Look through containers and return the source of all their images.

        Raises
        ------
        ImagesNotFoundError
            A container does not exist.
        ImagesTableError
            A container is malformed, or two of its images have one name.
        OSError
            A container cannot be read.
        """
        members = open_members(root, names)
        require_distinct(root, members.table.path)
        return cls(root, names, members.table, open_members, _Scan(members))

    def read(self, row: int) -> bytes:
        """Return the bytes of an encoded image; see `bottleneck.data.image_source.ImageSource`."""
        members = self._open()
        member = int(self._member_of_row[row])
        if member == _GONE:
            raise ImageError("cannot be read: it is not in its container any more")
        if member == _RELABELLED:
            raise ContainerError(
                "its container changed while it was in use: the same command tries it again"
            )
        return members.read(member)

    def path(self, row: int) -> str:
        """Return the container's path and the name of an image in it, to be used in messages."""
        return str(self.root / self.table.path[row])

    def with_table(self, table: ImageTable) -> Self:
        """Return the source of the same images, numbered by the rows of another table."""
        return replace(self, table=table)

    def missing_here(self) -> str:
        """Return the path of a container that this process does not see; empty if it sees all."""
        paths = (self.root / name for name in self.names)
        return next((str(path) for path in paths if not path.is_file()), "")

    @property
    def notes(self) -> SourceNotes:
        """What was found beside the images; empty in another process."""
        found: SourceNotes = getattr(self._scan.members, "notes", SourceNotes())
        return found

    @cached_property
    def _member_of_row(self) -> NDArray[np.int64]:
        found = self._open().table
        member = match_texts(self.table.path, found.path)
        if self._scan.repeated:
            for column in ("label", "split", "group"):
                now = getattr(found, column).take_or_blank(np.maximum(member, _GONE))
                member[(member >= 0) & getattr(self.table, column).differs(now)] = _RELABELLED
        return member

    def _open(self) -> ImageReader:
        scan = self._scan
        with scan.lock:  # of several threads, one looks through the files for all
            if scan.members is None:
                scan.members, scan.repeated = self.open_members(self.root, self.names), True
            return scan.members

    def __reduce__(self) -> Any:
        # Another process may have another working directory.
        return type(self), (self.root.absolute(), self.names, self.table, self.open_members)


def require_distinct(root: Path, paths: StringColumn) -> None:
    """Require that no two images have one path.

    Parameters
    ----------
    root : Path
        What the paths are relative to, for the message.
    paths : StringColumn

    Raises
    ------
    ImagesTableError
        Two images have one.

    Examples
    --------
    >>> require_distinct(Path("data"), StringColumn(["1.jpg", "2.jpg", "1.jpg"]))
    Traceback (most recent call last):
    bottleneck.errors.ImagesTableError: data/1.jpg: images 1 and 3 have this name; an image is ...
    """
    if all(one < next_ for one, next_ in pairwise(paths)):  # as most archives are packed
        return
    for first, second, name in find_repeats(lambda: paths, len(paths)):
        raise ImagesTableError(
            f"{root / name}: images {first + 1} and {second + 1} have this name; an image "
            "is one row: give each a name of its own"
        )
