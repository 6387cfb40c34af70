"""Open files that hold many images, by the kinds of the files under a path."""

import os
from pathlib import Path

from bottleneck.data.sources.container import ContainerSource
from bottleneck.data.sources.container_names import (
    ContainerKind,
    container_kind,
    expand_shards,
    find_containers,
    is_shard_pattern,
)
from bottleneck.data.sources.files.file_source import FileSource
from bottleneck.errors import ImagesNotFoundError

# Their kind, a folder, and their names in it.
_Containers = tuple[ContainerKind, Path, tuple[str, ...]]

_ARRAYS = ("npz", "hdf5")  # each file of them is a data set of its own


def open_containers(path: Path, *, labels: bool = True) -> ContainerSource | FileSource | None:
    """Return the images of a container, of several that a pattern names, or of those of a folder.

    Parameters
    ----------
    path : Path
        A tar archive, a Parquet, ``.npz`` or HDF5 file; a pattern such as ``a-{000..127}.tar``; or
        a folder that holds such files.
    labels : bool
        Whether folders in archives give labels and splits. If not, none are refused.

    Returns
    -------
    ContainerSource, FileSource or None
        None if the path is nothing of these.

    Raises
    ------
    ImagesNotFoundError
        There is no image in them, a file of a pattern is missing, or a folder holds several kinds.
    ImagesTableError
        A container is malformed.
    LabelsError
        Folders in archives look like splits, but which splits they are is ambiguous.
    OSError
        The storage fails.
    """
    if (found := _find(path)) is None:
        return None
    source = _open(*found, labels=labels)
    if not len(source.table):
        passed_over = source.notes.passed_over_text()
        raise ImagesNotFoundError(f"no images in {path}: {passed_over or 'it is empty'}")
    return source


def _find(path: Path) -> _Containers | None:
    if path.is_dir():
        return _find_in_folder(path)
    if (kind := container_kind(path.name)) is None:
        return None
    if path.exists():
        return (kind, path.parent, (path.name,)) if path.is_file() else None
    return (kind, *_find_by_pattern(path)) if is_shard_pattern(path) else None


def _find_in_folder(folder: Path) -> _Containers | None:
    found = find_containers(folder)
    if not found:
        return None
    seen = " and ".join(f"{len(names)} {kind} files" for kind, names in found.items())
    if len(found) > 1:
        raise ImagesNotFoundError(
            f"no images in {folder}, but {seen}: name one of them, or a folder of one kind"
        )
    ((kind, names),) = found.items()
    if kind in _ARRAYS and len(names) > 1:
        raise ImagesNotFoundError(f"no images in {folder}, but {seen}: name one of them")
    return kind, folder, tuple(names)


def _find_by_pattern(path: Path) -> tuple[Path, tuple[str, ...]]:
    text = os.fspath(path)
    names = expand_shards(text)
    missing = [name for name in names if not Path(name).is_file()]
    if missing:
        raise ImagesNotFoundError(
            f"{len(missing)} of the {len(names)} files that {text} stands for do not exist, for "
            f"example {missing[0]}"
        )
    root = Path(text[: text.index("{")] + "_").parent
    return root, tuple(Path(name).relative_to(root).as_posix() for name in names)


def _open(
    kind: ContainerKind, root: Path, names: tuple[str, ...], *, labels: bool
) -> ContainerSource | FileSource:
    # Imported when needed: a folder of photographs shall not wait for pyarrow and h5py.
    match kind:
        case "tar":
            from bottleneck.data.sources.archives.tar import open_tars, open_tars_unlabelled

            return ContainerSource.open(root, names, open_tars if labels else open_tars_unlabelled)
        case "parquet":
            from bottleneck.data.sources.tables.parquet import open_parquet_images

            return open_parquet_images(root, names)
        case "npz":
            from bottleneck.data.sources.arrays.npz import open_npz

            return ContainerSource.open(root, names, open_npz)
        case "hdf5":
            from bottleneck.data.sources.arrays.hdf5 import open_hdf5

            return ContainerSource.open(root, names, open_hdf5)
