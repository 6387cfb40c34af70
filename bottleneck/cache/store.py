"""Open a cache, read its codes and report its status.

`bottleneck.cache.update` creates a cache and brings it up to date. ``docs/format.md`` describes the
files.
"""

import os
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, TypeGuard

import numpy as np
from numpy.typing import NDArray

from bottleneck.cache.format.manifest import RESTORE, is_cache, read_manifest, require_cache
from bottleneck.cache.index import write_derived_files
from bottleneck.cache.reading import CacheReader
from bottleneck.cache.status import CacheStatus, describe
from bottleneck.data import ImageTable, class_targets
from bottleneck.errors import CacheError, ImagesTableError, InvalidOptionError
from bottleneck.runtime import escape_unprintable, require_options

if TYPE_CHECKING:
    from bottleneck.cache.torch_dataset import TorchCodes


@dataclass(frozen=True, repr=False)
class Cache(CacheReader):
    """A cache of codes: a directory with one array of codes for each layer.

    Open one with `open_cache`.

    Attributes
    ----------
    path : Path
        The directory.
    manifest : Manifest
        Spec, storage layout, model reference and cache id.
    images : ImageTable
        Row i of every layer is image i.

    Examples
    --------
    >>> cache = open_cache("tests/data/before/cache")
    >>> cache.layers, len(cache.images)
    (['layer1', 'layer2'], 19)
    >>> X, y = cache.load("layer1", split="train")
    >>> X.shape, X.dtype, str(y[0])
    ((12, 6), dtype('float32'), 'ants')
    """

    def __repr__(self) -> str:
        """Return a short description."""
        return f"<Cache {self.path}: {len(self.images)} images, {self.manifest.spec.model}>"

    def __str__(self) -> str:
        return str(self.status())

    def _repr_html_(self) -> str:
        return self.status()._repr_html_()

    # Status

    def status(
        self,
        layers: str | Sequence[str] = (),
        *,
        shards: Collection[int] | None = None,
        tasks: int = 1,
    ) -> CacheStatus:
        """Return finished, rejected and missing rows of each layer.

        Parameters
        ----------
        layers : str or sequence of str
            The layers to describe, whether begun or not. All that were begun unless given.
        shards : collection of int, optional
            The shards to look at. All unless given.
        tasks : int
            Number of array tasks among which the missing shards are divided.
        """
        return describe(self, layers, shards=shards, tasks=tasks)

    # Maintenance

    def write_derived_files(self) -> dict[int, str]:
        """Bring ``rejected.csv`` and ``codes.h5`` up to date with the shards.

        Returns
        -------
        dict of int to str
            The rows that gave no codes in any layer, with the reason of each.
        """
        return write_derived_files(self)

    # Codes

    def load(
        self, layer: str, split: str | None = None
    ) -> tuple[NDArray[np.float32], NDArray[Any]]:
        """Return the codes and labels of a layer, for any estimator.

        Images without a label or without codes are left out.

        Parameters
        ----------
        layer : str
        split : str, optional
            The split to load, for example ``"train"``. All rows unless given.

        Returns
        -------
        X : ndarray of float32, shape (n, d)
            Codes, flattened.
        y : ndarray of str, shape (n,)
            Labels.

        Raises
        ------
        CacheError
            The layer is not complete.
        UnknownNameError
            The cache has no such layer or split.
        ShardError
            A shard is damaged.
        """
        rows = self.labelled_rows(layer, split)
        label = self.images.label
        names = np.array(label.categories, dtype=np.str_)
        return self.read_codes(layer, rows), names[label.codes[rows]]

    def dataset(self, layer: str, split: str | None = None) -> "TorchCodes":
        """Return the codes and labels of a layer as a PyTorch dataset.

        Shards are read lazily, each verified before its first use. Images without a label or
        without codes are left out.

        Parameters
        ----------
        layer : str
        split : str, optional
            The split to read, for example ``"train"``. All rows unless given.

        Returns
        -------
        TorchCodes
            A `torch.utils.data.Dataset`. Item i is a float32 tensor (the code) and an int (the
            index of its label in the attribute ``classes``, which is the same for all splits). If
            labels are several names (``cat|dog``), the second is a float32 tensor of zeros and
            ones, one for each class.

        Raises
        ------
        CacheError
            The layer is not complete.
        UnknownNameError
            The cache has no such layer or split.
        """
        from bottleneck.cache.code_reader import CodeReader
        from bottleneck.cache.torch_dataset import TorchCodes  # imports torch

        rows = self.labelled_rows(layer, split)
        classes, targets = class_targets(self.images, rows)
        return TorchCodes(CodeReader(self, layer, rows), targets, classes)


class HasCache(Protocol):
    """Result of a run that made or used a cache."""

    @property
    def cache(self) -> Cache:
        """Return the cache."""


CacheLike: TypeAlias = str | os.PathLike[str] | Cache | HasCache


def holds_codes(source: object) -> TypeGuard[CacheLike]:
    """Return whether this is a cache, or the path of one, and not images.

    Examples
    --------
    >>> holds_codes("tests/data/before/cache"), holds_codes("data/digits")
    (True, False)
    """
    if isinstance(source, (str, os.PathLike)):
        return is_cache(Path(source))
    return isinstance(source, Cache) or hasattr(source, "cache")


def open_cache(cache: CacheLike, images: ImageTable | None = None) -> Cache:
    """Open a cache for reading.

    Parameters
    ----------
    cache : str, path, Cache or object with an attribute ``cache``
        A cache that is open already is returned as it is.
    images : ImageTable, optional
        Used in place of a second table if it equals the cache's own.

    Raises
    ------
    CacheError
        There is no cache at the path, or no longer, or its ``spec.json`` or ``images.csv`` is
        damaged.
    InvalidOptionError
        It is none of these.

    Examples
    --------
    >>> open_cache("tests/data/before/cache").layers
    ['layer1', 'layer2']
    """
    if images is not None:
        require_options(images=(images, ImageTable))
    if not isinstance(cache, (str, os.PathLike)):
        opened = _opened(cache)
        # Removed since; or its path is relative, and the process now in another directory.
        require_cache(opened.path.absolute())
        return opened
    path = Path(cache)
    manifest = read_manifest(path)
    try:
        images = ImageTable.read_csv(path / "images.csv", known=images)
    except (FileNotFoundError, ImagesTableError) as error:
        raise CacheError(f"{path}: images.csv is absent or damaged ({error}): {RESTORE}") from error
    return Cache(path, manifest, images)


def cache_path(cache: CacheLike) -> Path:
    """Return the directory of a cache, which need not exist.

    Parameters
    ----------
    cache : str, path, Cache or object with an attribute ``cache``

    Examples
    --------
    >>> cache_path("photos.cache").name
    'photos.cache'
    """
    return Path(cache) if isinstance(cache, (str, os.PathLike)) else _opened(cache).path


def _opened(cache: Cache | HasCache) -> Cache:
    if isinstance(cache, Cache):
        return cache
    if not hasattr(cache, "cache"):
        allowed = "a path, a Cache, or a result that has one as `cache`"
        raise InvalidOptionError("cache", type(cache).__name__, allowed)
    return cache.cache


def status(cache: CacheLike, layers: str | Sequence[str] = (), tasks: int = 1) -> CacheStatus:
    """Return finished, rejected and missing rows of each layer of a cache.

    Parameters
    ----------
    cache : str, path, Cache or object with an attribute ``cache``
    layers : str or sequence of str
        The layers to describe, whether begun or not. All that were begun unless given.
    tasks : int
        Number of array tasks among which the missing shards are divided.

    Raises
    ------
    CacheError
        There is no cache at the path, or its ``spec.json`` or ``images.csv`` is damaged.
    InvalidOptionError
        `tasks` is below 1, or no whole number.

    Examples
    --------
    >>> status("tests/data/before/cache").complete
    True
    """
    return open_cache(cache).status(layers, tasks=tasks)


def kept_text(path: Path) -> str:
    """Return one line that says what a cache holds after an interrupt; empty without a shard.

    Parameters
    ----------
    path : Path

    Raises
    ------
    CacheError
        The cache's ``spec.json`` or ``images.csv`` is damaged.

    Examples
    --------
    >>> kept_text(Path("tests/data/before/cache"))
    'tests/data/before/cache holds 3 of 3 shards of layer1, 3 of 3 shards of layer2'
    """
    if not is_cache(path):
        return ""
    cache = open_cache(path)
    finished = {series: len(cache.finished_shards(series)) for series in cache.series}
    if not any(finished.values()):
        return ""
    kept = (f"{n} of {cache.shard_count} shards of {series}" for series, n in finished.items())
    return f"{path} holds {escape_unprintable(', '.join(kept))}"
