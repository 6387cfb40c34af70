"""A PyTorch dataset of codes and labels, which reads shards lazily."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from bottleneck.cache.code_reader import CodeReader


class TorchCodes(Dataset[tuple[Tensor, Any]]):
    """Codes of a layer with the targets of their images. It can be sent to worker processes.

    Parameters
    ----------
    reader : CodeReader
    targets : ndarray of int64, shape (n,), or of bool, shape (n, k)
        Class of each row, as an index of `classes`; or which classes it has.
    classes : sequence of k str

    Attributes
    ----------
    classes : list of k str
        The same for all splits.

    Examples
    --------
    >>> from bottleneck import open_cache
    >>> dataset = open_cache("tests/data/before/cache").dataset("layer1", split="train")
    >>> code, target = dataset[0]
    >>> len(dataset), code.shape, code.dtype, dataset.classes[target]
    (12, torch.Size([6]), torch.float32, 'ants')
    """

    def __init__(self, reader: CodeReader, targets: NDArray[Any], classes: Sequence[str]) -> None:
        self.classes = list(classes)
        self._reader = reader
        self._targets = targets

    def __len__(self) -> int:
        return len(self._reader)

    def __getitem__(self, item: int) -> tuple[Tensor, Any]:
        return self.__getitems__([item])[0]

    def __getitems__(self, items: Sequence[int]) -> list[tuple[Tensor, Any]]:
        """Return a batch: PyTorch's loaders call this, so that shards are read in order."""
        for item in items:
            if not -len(self) <= item < len(self):
                raise IndexError(f"item {item} of a dataset of {len(self)}")
        codes = torch.from_numpy(self._reader.read(items))
        return list(zip(codes, [_target(self._targets[item]) for item in items], strict=True))

    def __repr__(self) -> str:
        """Return a short description."""
        layer, path = self._reader.series, self._reader.cache.path
        return f"<TorchCodes: {len(self)} codes of {layer} in {path}, {len(self.classes)} classes>"


def _target(value: Any) -> Any:
    return torch.from_numpy(value.astype(np.float32)) if value.ndim else int(value)
