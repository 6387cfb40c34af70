"""Remember which network a name and a file of weights gave, so that it need not be loaded again.

A run that finds nothing to do has to know that its network is that of the cache. What it loaded
before is remembered in the user's state directory, with the versions of the libraries and the size,
time and inode of each file of weights. Where any of these differs the network is loaded. A network
that is code is never remembered, since it may read any other file.

This module loads no PyTorch.
"""

import contextlib
import dataclasses
import functools
import importlib.metadata
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any, Self

from bottleneck import __version__
from bottleneck.backbones.sources.weights import weights_name
from bottleneck.input_transform import InputTransform
from bottleneck.model_reference import ModelReference
from bottleneck.runtime import sha256, state_directory, write_text_atomic

_LIBRARIES = ("torch", "torchvision", "timm")

FileState = list[str | int]


@dataclass(frozen=True)
class NetworkIdentity:
    """What identifies a network that was loaded.

    Attributes
    ----------
    model : str
        Identity of the architecture, for the spec.
    weights_digest : str
    preset : InputTransform
        What the weights expect.
    reference : ModelReference
        How to load it again.
    """

    model: str
    weights_digest: str
    preset: InputTransform
    reference: ModelReference

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Self:
        """Build an identity from the plain values of `dataclasses.asdict`.

        Raises
        ------
        TypeError, KeyError
            `values` are not those of an identity.
        """
        return cls(
            values["model"],
            values["weights_digest"],
            InputTransform(**values["preset"]),
            ModelReference(**values["reference"]),
        )


def file_states(files: Iterable[Path]) -> list[FileState] | None:
    """Return path, size, time and inode of files; None if one does not exist.

    Examples
    --------
    >>> file_states([]), file_states([Path("absent")])
    ([], None)
    """
    try:
        return [_state(file) for file in files]
    except OSError:
        return None


def remember_network(
    model: str, weights: str, files: Sequence[FileState], identity: NetworkIdentity
) -> None:
    """Remember what was loaded; nothing if the state directory cannot be written.

    Parameters
    ----------
    model, weights : str
        As they were given.
    files : sequence of FileState
        Those that decide the network, beside the code of libraries, as they were before it was
        loaded.
    identity : NetworkIdentity
    """
    values = {"files": files, "identity": dataclasses.asdict(identity)}
    with contextlib.suppress(OSError):
        place = _place(model, weights)
        place.parent.mkdir(parents=True, exist_ok=True)
        write_text_atomic(place, json.dumps(values))


def recall_network(model: str, weights: str | PathLike[str]) -> NetworkIdentity | None:
    """Return what these gave when they were last loaded; None if that is not known.

    Parameters
    ----------
    model, weights : str or PathLike
        As `bottleneck.backbones.backbone.load_backbone` takes them.

    Examples
    --------
    >>> recall_network("a network that was never loaded", "DEFAULT") is None
    True
    """
    try:
        values = json.loads(_place(model, weights_name(model, weights)).read_text("utf-8"))
        if values["files"] != file_states(Path(path) for path, *_ in values["files"]):
            return None
        return NetworkIdentity.from_json(values["identity"])
    except (OSError, ValueError, TypeError, KeyError):  # never loaded, or not by this version
        return None


def _place(model: str, weights: str) -> Path:
    file = Path(weights)
    named = str(file.resolve()) if file.exists() else weights
    parts = [__version__, model, named, *map(_version, _LIBRARIES)]
    return state_directory() / "networks" / f"{sha256(json.dumps(parts).encode())}.json"


@functools.cache  # to read those of PyTorch takes milliseconds
def _version(library: str) -> str:
    try:
        return importlib.metadata.version(library)
    except importlib.metadata.PackageNotFoundError:
        return ""


def _state(file: Path) -> FileState:
    found = file.stat()
    return [str(file.resolve()), found.st_size, found.st_mtime_ns, found.st_ino]
