"""Options of an extraction: how codes are stored and computed, and which shards a run makes."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from bottleneck.cache import COMPRESSIONS, DTYPES, MAX_SHARD_SIZE, SeriesLike, StorageLayout
from bottleneck.data import ViewRecipe
from bottleneck.errors import InvalidOptionError
from bottleneck.runtime import (
    PRECISIONS,
    RUNTIMES,
    ArrayTask,
    Executor,
    OnProgress,
    ignore_progress,
    keep_python_numbers,
    require_executor,
    require_one_of,
    require_positive_or_none,
)

_SHARD_ROWS = 4096
_SHARD_BYTES = 64 << 20  # an unpooled layer gets shards of fewer rows
_MAX_VIEWS = 1000


def default_shard_size(row_bytes: int) -> int:
    """Return the default rows per shard: 4096, or fewer if these would take more than 64 MiB.

    Parameters
    ----------
    row_bytes : int
        Bytes of one image's code at the layer with the largest codes.

    Examples
    --------
    >>> default_shard_size(1024), default_shard_size(1 << 20)
    (4096, 64)
    """
    return max(1, min(_SHARD_ROWS, _SHARD_BYTES // row_bytes))


@dataclass(frozen=True)
class StorageOptions:
    """How codes are stored. None means the cache's own value, or the default for a new cache.

    Parameters
    ----------
    dtype : str, optional
        ``"float16"``, the default for a new cache, or ``"float32"``.
    compression : str, optional
        ``"none"``, the default for a new cache, ``"lzf"`` or ``"gzip"``.
    shard_size : int, optional
        Rows per shard. The default for a new cache is 4096, or fewer if these would take more
        than 64 MiB.
    force : bool
        Whether to start although the disk may be too small for the codes.

    Raises
    ------
    InvalidOptionError
        A value is not allowed.

    Examples
    --------
    >>> StorageOptions(dtype="float32", shard_size=512)
    StorageOptions(dtype='float32', compression=None, shard_size=512, force=False)
    """

    dtype: str | None = None
    compression: str | None = None
    shard_size: int | None = None
    force: bool = False

    def __post_init__(self) -> None:
        keep_python_numbers(self)
        require_one_of("dtype", self.dtype, (*DTYPES, None))
        require_one_of("compression", self.compression, (*COMPRESSIONS, None))
        require_positive_or_none("shard_size", self.shard_size)
        if self.shard_size is not None and self.shard_size > MAX_SHARD_SIZE:
            raise InvalidOptionError(
                "shard_size", self.shard_size, f"at least 1 and at most {MAX_SHARD_SIZE}"
            )

    def layout_of(self, existing: StorageLayout) -> StorageLayout:
        """Return the layout of an existing cache, with the given values in place of its own.

        Examples
        --------
        >>> StorageOptions(dtype="float32").layout_of(StorageLayout("float16", 512, "lzf"))
        StorageLayout(dtype='float32', shard_size=512, compression='lzf')
        """
        return StorageLayout(
            self.dtype or existing.dtype,
            self.shard_size or existing.shard_size,
            self.compression or existing.compression,
        )

    def new_layout(self, largest_code: int) -> StorageLayout:
        """Return the layout of a new cache.

        Parameters
        ----------
        largest_code : int
            Number of values in the largest code of the run, by which shards have fewer rows.

        Examples
        --------
        >>> StorageOptions(dtype="float32").new_layout(100_352)
        StorageLayout(dtype='float32', shard_size=167, compression='none')
        """
        dtype = self.dtype or DTYPES[0]
        rows = self.shard_size or default_shard_size(largest_code * np.dtype(dtype).itemsize)
        return StorageLayout(dtype, rows, self.compression or COMPRESSIONS[0])


@dataclass(frozen=True)
class ViewOptions:
    """How many views of each image are kept, and how they are made.

    None means the cache's own value, or the default for a new cache.

    Parameters
    ----------
    count : int, optional
        Views of each image. The first is the image itself, so that 1, the default for a new cache,
        means no others.
    augmentations : sequence of str, optional
        What may be done to an image, of ``"flip"``, ``"crop"``, ``"rotate"`` and ``"color"``; see
        `bottleneck.ViewRecipe`. The default for the first views of a cache is flip and crop.
    seed : int, optional
        Decides the views, together with the bytes of each image. The default is 0.

    Raises
    ------
    InvalidOptionError
        A value is not allowed.

    Examples
    --------
    >>> ViewOptions(5, augmentations=("rotate", "color"))
    ViewOptions(count=5, augmentations=('rotate', 'color'), seed=None)
    """

    count: int | None = None
    augmentations: Sequence[str] | None = None
    seed: int | None = None

    def __post_init__(self) -> None:
        keep_python_numbers(self)
        if self.count is not None and not (
            type(self.count) is int and 1 <= self.count <= _MAX_VIEWS
        ):
            allowed = f"a whole number from 1, the image alone, to {_MAX_VIEWS}"
            raise InvalidOptionError("views", self.count, allowed)
        self.recipe(ViewRecipe())

    def recipe(self, default: ViewRecipe) -> ViewRecipe:
        """Return the recipe with these values, and those of another where they are None.

        Examples
        --------
        >>> str(ViewOptions(2, ["rotate"]).recipe(ViewRecipe(seed=3)))
        'rotate with seed 3'
        """
        given: Any = self.augmentations or default.augmentations
        return ViewRecipe(given, default.seed if self.seed is None else self.seed)


@dataclass(frozen=True)
class ComputeOptions:
    """Where and how fast codes are computed.

    Parameters
    ----------
    device : str or torch.device
        ``"auto"``, ``"cpu"``, ``"cuda"`` or ``"cuda:N"``. ``"auto"`` takes every visible GPU, or
        the CPU if there is none.
    precision : str
        Of weights and activations: ``"float32"``, ``"bfloat16"``, ``"float16"`` or ``"auto"``.
        ``"auto"`` is the precision of an existing cache, and for a new one the fastest with
        float32's range in which the network runs. A device whose hardware lacks the
        precision computes the codes in float32, and a CPU those of float16.
    runtime : str
        What runs the network: ``"torch"``, ``"openvino"``, or ``"auto"``. ``"auto"`` is OpenVINO
        on a CPU, if it is installed, and on a GPU a CUDA graph of PyTorch's operations, compiled
        or not: if it gives the network's codes within the tolerance of the precision, is faster,
        and has enough images to be worth trying.
    batch_size : int, optional
        Images in one forward pass. The default suits the network and the device.
    workers : int, optional
        Threads that read files and, for a GPU, those that decode. The default is one per core.
    max_pixels : int, optional
        Pixels of an image, at most: a larger one is rejected. The default is Pillow's limit,
        89 478 485. A larger one needs about 10 bytes of memory for each pixel.

    Raises
    ------
    InvalidOptionError
        A value is not allowed.

    Examples
    --------
    >>> ComputeOptions(device="cpu", batch_size=16).precision
    'auto'
    """

    device: str = "auto"
    precision: str = "auto"
    runtime: str = "auto"
    batch_size: int | None = None
    workers: int | None = None
    max_pixels: int | None = None

    def __post_init__(self) -> None:
        keep_python_numbers(self)
        require_one_of("precision", self.precision, ("auto", *PRECISIONS))
        require_one_of("runtime", self.runtime, RUNTIMES)
        require_positive_or_none("batch_size", self.batch_size)
        require_positive_or_none("workers", self.workers)
        require_positive_or_none("max_pixels", self.max_pixels)
        object.__setattr__(self, "device", str(self.device))  # the name of a torch.device


@dataclass(frozen=True)
class RunOptions:
    """Which shards a run makes, by which workers, and how it reports progress.

    Parameters
    ----------
    task : ArrayTask
        Which part of the shards to make. The default is all of them.
    executor : Executor, optional
        Workers that make the shards, each with a device of its own. The default is this process.
    on_progress : callable, optional
        Called with a `Progress`: while images of another size or time are compared with those that
        their codes were made of, if there are any. Then with an `ExtractionProgress`: with 0 images
        done before any image is encoded, then after each batch, or after each shard if an
        executor's workers make them. Not called if there is nothing to do.
    retry_rejected : bool
        Whether to try rejected images again although their files look unchanged.
    check_content : bool
        Whether to compare every image's bytes with those that its codes were made of. Else only
        images of another size or time are compared.
    redo : iterable of (str or Series, int)
        Shards to compute again: layer, or view of a layer, and number. Each stays until it is
        replaced.

    Raises
    ------
    InvalidOptionError
        `task` is no `ArrayTask`, `executor` no executor, or `redo` no pairs.

    Examples
    --------
    >>> RunOptions(redo=[("layer3", 0)]).redo
    (('layer3', 0),)
    """

    task: ArrayTask = ArrayTask()
    executor: Executor | None = None
    on_progress: OnProgress = ignore_progress
    retry_rejected: bool = False
    check_content: bool = False
    redo: Iterable[tuple[SeriesLike, int]] = ()

    def __post_init__(self) -> None:
        if not isinstance(self.task, ArrayTask):
            raise InvalidOptionError("task", self.task, "an ArrayTask, such as ArrayTask(0, 16)")
        require_executor(self.executor)
        redo = tuple(self.redo) if isinstance(self.redo, Iterable) else (self.redo,)
        for pair in redo:
            if not isinstance(pair, (tuple, list)) or len(pair) != 2:
                raise InvalidOptionError("redo", pair, "pairs such as ('layer3', 0)")
        object.__setattr__(self, "redo", redo)
