"""Batches of images: read, decoded and augmented while the network trains on those before."""

from collections import deque
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bottleneck.data import (
    ImageSource,
    ViewRecipe,
    ViewSet,
    decode_views,
    resample_by_torchvision,
)
from bottleneck.errors import ImageError, InvalidOptionError
from bottleneck.finetuning.loading.batches import Batch, batch_bounds
from bottleneck.input_transform import InputTransform
from bottleneck.runtime import available_cpus, sha256

_BATCHES_AHEAD = 2


@dataclass(frozen=True)
class ImageBatches:
    """Images, as the network gets them: normalised, float32, channels last in memory.

    Attributes
    ----------
    source : ImageSource
    transform : InputTransform
    views : int
        Views of an image, by whose mean it is judged.
    recipe : ViewRecipe or None
        How views are made. Epoch e of a training shows view e of each image, so that no two epochs
        show the same pictures. None: all epochs show the images themselves.
    digests : mapping of int to str
        SHA-256 of the bytes that images must have, by row: one that has others is an `ImageError`.

    Raises
    ------
    InvalidOptionError
        The decoder of `transform` is that of a GPU.

    Examples
    --------
    >>> from bottleneck.data import open_images
    >>> images = ImageBatches(open_images("data/digits"), InputTransform(32, 32))
    >>> batch, index = next(images.ordered(np.arange(6), batch_size=4))
    >>> batch.shape, index.tolist()
    (torch.Size([3, 3, 32, 32]), [0, 1, 2])
    """

    source: ImageSource
    transform: InputTransform
    views: int = 1
    recipe: ViewRecipe | None = None
    digests: Mapping[int, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.transform.decodes_on_gpu:
            hint = "a GPU decodes for `bottleneck.extract` and `bottleneck.predict`"
            raise InvalidOptionError("decoder", "gpu", "exact or fast to train on images", hint)

    def __str__(self) -> str:
        """Say what each epoch does with the images."""
        augmented = f", augmented by {','.join(self.recipe.augmentations)}" if self.recipe else ""
        return f"images decoded in each epoch{augmented}"

    def shuffled(
        self, rows: NDArray[np.int64], *, seed: int, epoch: int, batch_size: int
    ) -> Iterator[Batch]:
        """Yield each image once: see `Batches`."""
        order = np.random.default_rng((seed, epoch)).permutation(len(rows))
        view = epoch if self.recipe else 0
        return self._batches(rows, order, np.full(len(rows), view), batch_size)

    def ordered(self, rows: NDArray[np.int64], *, batch_size: int) -> Iterator[Batch]:
        """Yield each view of each image, in order: see `Batches`."""
        order = np.repeat(np.arange(len(rows)), self.views)
        return self._batches(rows, order, np.tile(np.arange(self.views), len(rows)), batch_size)

    def _batches(
        self,
        rows: NDArray[np.int64],
        order: NDArray[np.int64],
        views: NDArray[np.int64],
        batch_size: int,
    ) -> Iterator[Batch]:
        bounds = batch_bounds(len(order), batch_size)
        ahead: deque[tuple[list[Future[Tensor]], NDArray[np.int64]]] = deque()
        with _decoders() as pool:
            for start, end in pairwise(bounds):
                index = order[start:end]
                wanted = zip(rows[index].tolist(), views[start:end].tolist(), strict=True)
                ahead.append(([pool.submit(self._load, row, view) for row, view in wanted], index))
                if len(ahead) > _BATCHES_AHEAD:
                    yield _join(*ahead.popleft())
            while ahead:
                yield _join(*ahead.popleft())

    def _load(self, row: int, view: int) -> Tensor:
        """Read, decode and normalise one image, shape (height, width, 3)."""
        made, _ = self._decode(row, view)
        mean, std = (
            torch.tensor(each, dtype=torch.float32, device="cpu")
            for each in (self.transform.mean, self.transform.std)
        )
        return torch.from_numpy(made).float().div_(255).sub_(mean).div_(std)

    def _decode(self, row: int, view: int) -> tuple[NDArray[np.uint8], str]:
        """Return a view of an image, shape (height, width, 3), and the digest of its bytes."""
        try:
            data = self.source.read(row)
            digest = sha256(data)
            if self.digests.get(row, digest) != digest:
                raise ImageError("changed while it was in use: the same command begins again")
            (made,) = decode_views(
                data,
                self.transform,
                ViewSet((view,), self.recipe),
                image_sha256=digest,
                resample=resample_by_torchvision,
            )
        except ImageError as error:
            raise ImageError(f"{self.source.path(row)}: {error}") from error
        return made, digest


def check_images(
    images: ImageBatches, rows: NDArray[np.int64]
) -> tuple[dict[int, str], dict[int, str]]:
    """Read and decode images, to find those that cannot be, and those with the same bytes.

    Parameters
    ----------
    images : ImageBatches
    rows : ndarray of int64, shape (n,)

    Returns
    -------
    digests : dict of int to str
        SHA-256 of the bytes of each image that can be decoded, by row.
    reasons : dict of int to str
        Why each of the others cannot be.
    """
    digests: dict[int, str] = {}
    reasons: dict[int, str] = {}

    def check(row: int) -> None:
        try:
            _, digests[row] = images._decode(row, 0)
        except ImageError as error:
            reasons[row] = str(error)

    with _decoders() as pool:
        list(pool.map(check, rows.tolist()))
    return digests, dict(sorted(reasons.items()))


def _decoders() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(
        available_cpus(), "decode", initializer=torch.set_num_threads, initargs=(1,)
    )


def _join(images: list[Future[Tensor]], index: NDArray[np.int64]) -> Batch:
    return torch.stack([image.result() for image in images]).permute(0, 3, 1, 2), index
