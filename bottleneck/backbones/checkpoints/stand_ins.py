"""Inert stand-ins for the harmless objects that training scripts save beside the weights.

A pickle names classes and functions, and reading it calls them. PyTorch's reader calls none but
those of tensors and a few plain types. Checkpoints also contain settings, paths, dates and numbers
of NumPy, of which weights need nothing. Their names are listed here. Each is read as a stand-in
that keeps nothing and does nothing, so that neither the real class nor its module is used.
"""

import itertools
from collections import OrderedDict
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, Self

import torch
from torch import nn


class Inert:
    """Stands for an object of which nothing is kept.

    Examples
    --------
    >>> stand_in = Inert("arguments", 1)
    >>> stand_in.__setstate__({"lr": 0.1})
    >>> vars(stand_in)
    {}
    """

    def __new__(cls, *_arguments: object) -> Self:
        return super().__new__(cls)

    def __setstate__(self, state: object) -> None:
        """Keep nothing of it."""


class InertMapping:
    """Stands for a subclass of dict, whose items are kept: weights may be among them."""

    def __new__(cls, *_arguments: object) -> Any:
        # Items are put only into dictionaries, and attributes are set only on this one.
        return OrderedDict()


_NUMPY = ("numpy.core.multiarray", "numpy._core.multiarray")  # before NumPy 2.0, and since
_NUMPY_TYPES = ("bool_", *(f"{kind}{bits}" for kind in ("int", "uint") for bits in (8, 16, 32, 64)))
_PATHS = ("Path", "PosixPath", "WindowsPath", "PurePath", "PurePosixPath", "PureWindowsPath")

_OBJECTS = (
    *("argparse.Namespace", "types.SimpleNamespace", "functools.partial", "typing.Any"),
    *("decimal.Decimal", "fractions.Fraction", "uuid.UUID", "torch.torch_version.TorchVersion"),
    *(f"datetime.{name}" for name in ("datetime", "date", "time", "timedelta", "timezone")),
    *(f"builtins.{name}" for name in ("bool", "int", "float", "str", "bytes", "tuple", "list")),
    *(f"builtins.{name}" for name in ("dict", "frozenset", "range", "slice", "object")),
    *(f"pathlib.{name}" for name in _PATHS),
    *(f"pathlib._local.{name}" for name in _PATHS),  # Python 3.13
    *(f"{module}.{name}" for module in _NUMPY for name in ("scalar", "_reconstruct")),
    *(f"numpy.{name}" for name in ("dtype", "ndarray", "float16", "float32", "float64")),
    *(f"numpy.{name}" for name in _NUMPY_TYPES),
    *("omegaconf.dictconfig.DictConfig", "omegaconf.listconfig.ListConfig"),
    *("omegaconf.base.ContainerMetadata", "omegaconf.base.Metadata"),
    *(f"omegaconf.nodes.{name}Node" for name in ("Any", "Integer", "Float", "String", "Boolean")),
    *(f"omegaconf.nodes.{name}Node" for name in ("Path", "Bytes", "Enum")),
    "mmengine.logging.history_buffer.HistoryBuffer",
    # Lightning saves the arguments of a module, among which may be its loss or an activation.
    *(f"torch.nn.modules.loss.{name}" for name in nn.modules.loss.__all__),
    *(f"torch.nn.modules.activation.{name}" for name in nn.modules.activation.__all__),
)

_MAPPINGS = (
    *("collections.defaultdict", "easydict.EasyDict", "yacs.config.CfgNode", "addict.addict.Dict"),
    *("mmengine.config.config.ConfigDict", "mmcv.utils.config.ConfigDict"),
    *(
        "lightning.fabric.utilities.data.AttributeDict",
        "lightning_fabric.utilities.data.AttributeDict",
    ),
    *(
        "lightning.pytorch.utilities.parsing.AttributeDict",
        "pytorch_lightning.utilities.parsing.AttributeDict",
    ),
)


def stand_ins() -> AbstractContextManager[None]:
    """Return a context in which PyTorch reads the harmless objects as stand-ins.

    It is PyTorch's list of safe globals that is extended, and only until the context ends.

    Examples
    --------
    >>> import argparse, io
    >>> file = io.BytesIO()
    >>> torch.save({"lr": argparse.Namespace(lr=0.1), "weight": torch.zeros(2)}, file)
    >>> _ = file.seek(0)
    >>> with stand_ins():
    ...     loaded = torch.load(file, weights_only=True)
    >>> type(loaded["lr"]).__name__, loaded["weight"]
    ('Inert', tensor([0., 0.]))
    """
    listed: list[Callable[..., Any] | tuple[Callable[..., Any], str]] = [
        *zip(itertools.repeat(Inert), _OBJECTS),
        *zip(itertools.repeat(InertMapping), _MAPPINGS),
    ]
    return torch.serialization.safe_globals(listed)  # type: ignore[no-any-return, unused-ignore]
