"""Reading: the tensors of a weights file, without running code that it may contain."""

import re
import warnings
import zipfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from bottleneck.backbones.checkpoints.file_kinds import explain_unreadable, is_safetensors
from bottleneck.backbones.checkpoints.stand_ins import Inert, stand_ins
from bottleneck.backbones.read_errors import READ_ERRORS
from bottleneck.errors import WeightsError, format_error
from bottleneck.runtime import format_names

_MOST_KEYS = 8  # of dictionaries inside of each other; checkpoints have two or three
_SEARCHED = 1 << 26  # bytes of a pickle: the names in it come before its numbers

_PLAIN = "it must be a state dict written by torch.save or safetensors"


@dataclass(frozen=True)
class Entry:
    """A tensor of a weights file.

    Attributes
    ----------
    keys : tuple of str
        Of the dictionaries that the state dict is in, the outermost first.
    name : str
        In the state dict.
    tensor : Tensor
    """

    keys: tuple[str, ...]
    name: str
    tensor: Tensor


@dataclass(frozen=True)
class Checkpoint:
    """The tensors of a weights file.

    Attributes
    ----------
    file : Path
    entries : tuple of Entry
        At least one.
    ordered : bool
        Whether their order is that of the modules that they were saved from. safetensors sorts.
    """

    file: Path
    entries: tuple[Entry, ...]
    ordered: bool

    @property
    def keys(self) -> list[str]:
        """The keys under which there are tensors, each once."""
        return list(dict.fromkeys(".".join(entry.keys) for entry in self.entries if entry.keys))


def read_checkpoint(file: Path) -> Checkpoint:
    """Read the tensors of a weights file, whatever its suffix, without running code.

    The file is read once. The tensors of an archive of ``torch.save`` are mapped into memory, so
    that those which are not used, such as an optimiser's, are never read.

    Parameters
    ----------
    file : Path
        It exists: safetensors, or what ``torch.save`` writes.

    Raises
    ------
    WeightsError
        The file holds no tensors with names, or could run code.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     state = torch.nn.Linear(3, 2).state_dict()
    ...     torch.save({"state_dict": state, "epoch": 3}, Path(folder) / "last.ckpt")
    ...     checkpoint = read_checkpoint(Path(folder) / "last.ckpt")
    >>> [(entry.keys, entry.name, tuple(entry.tensor.shape)) for entry in checkpoint.entries]
    [(('state_dict',), 'weight', (2, 3)), (('state_dict',), 'bias', (2,))]
    """
    try:
        reason = explain_unreadable(file)
        if reason:
            raise WeightsError(f"{file} {reason} ({_PLAIN})")
        with file.open("rb") as opened:
            sorted_by_name = is_safetensors(opened.read(9), size=None)
        loaded = load_file(file) if sorted_by_name else _load(file)
    except WeightsError:
        raise
    except READ_ERRORS as error:
        if isinstance(error, OSError) and error.strerror:
            raise WeightsError(f"{file} cannot be read: {error.strerror}") from error
        # PyTorch's own message advises weights_only=False, which would run the file.
        raise _refusal(file, error) from error
    entries = tuple(_entries(loaded, (), set()))
    if not entries:
        raise WeightsError(
            f"{file} holds no state dict (a dictionary of names and tensors): {_contents(loaded)}"
        )
    return Checkpoint(file, entries, ordered=not sorted_by_name)


def _load(file: Path) -> Any:
    is_archive = zipfile.is_zipfile(file)
    if is_archive:
        _refuse_bomb(file)
    # PyTorch reads a file called .safetensors as safetensors, whatever its content.
    mapped = is_archive and file.suffix != ".safetensors"
    with (
        warnings.catch_warnings(action="ignore"),  # the error has the same information
        stand_ins(),
        file.open("rb") as opened,
    ):
        source = file if mapped else opened
        return torch.load(source, map_location="cpu", weights_only=True, mmap=mapped)


def _refuse_bomb(file: Path) -> None:
    """Refuse an archive that unpacks to more than it takes; torch.save compresses nothing."""
    with zipfile.ZipFile(file) as archive:
        if sum(entry.file_size for entry in archive.infolist()) > file.stat().st_size:
            raise ValueError("it unpacks to more than it takes")


def _entries(value: Any, keys: tuple[str, ...], seen: set[int]) -> Iterator[Entry]:
    """Yield the tensors of nested dictionaries; each dictionary once, for it may contain itself."""
    if not isinstance(value, dict) or id(value) in seen or len(keys) > _MOST_KEYS:
        return
    seen.add(id(value))
    for name, item in value.items():
        if not isinstance(name, str):
            continue  # an optimiser numbers its state
        if isinstance(item, Tensor):
            yield Entry(keys, name, item)
        else:
            yield from _entries(item, (*keys, name), seen)


def _contents(loaded: Any) -> str:
    if not isinstance(loaded, dict):
        return f"it holds a {type(loaded).__name__}"
    names = [repr(name) for name in loaded if isinstance(name, str)]
    kinds = {type(value) for value in loaded.values()}
    if names and kinds == {Inert}:
        return (
            f"it holds {names[0]} and the others, which are no tensors: convert arrays with "
            "torch.as_tensor"
        )
    return f"it holds {format_names(names)}" if names else "it holds no names"


def _refusal(file: Path, error: Exception) -> WeightsError:
    """Return the error for a file that PyTorch or safetensors refused to read."""
    named = re.search(r"GLOBAL (\S+)", str(error))
    is_module = "persistent_load of storage" in str(error)  # in the old format
    if named is None and not is_module:
        damaged = isinstance(error, (EOFError, SafetensorError)) or "unexpected EOF" in str(error)
        reason = f"it is cut off or damaged ({format_error(error)}); " if damaged else ""
        return WeightsError(
            f"{file} is not a file of plain weights: {reason}{_PLAIN}; anything else is refused, "
            "because reading it could run code"
        )
    what = ascii(named[1])[1:-1][:100] if named else "torch.nn.Module"
    kind = f"a whole network ({what})" if _holds_network(file) else f"an object of {what}"
    return WeightsError(
        f"{file} is not a file of plain weights: it holds {kind}, and reading that could run code",
        hint="save the state dict alone where that code is at home, with "
        "torch.save(network.state_dict(), 'weights.pth')",
    )


def _holds_network(file: Path) -> bool:
    """Return whether a pickle names PyTorch's modules; False if that cannot be seen."""
    data = b""
    with suppress(*READ_ERRORS), file.open("rb") as opened:
        if zipfile.is_zipfile(opened):
            with zipfile.ZipFile(opened) as archive:
                names = [name for name in archive.namelist() if name.endswith("data.pkl")]
                data = archive.read(names[0]) if names else b""
        else:
            opened.seek(0)
            data = opened.read(_SEARCHED)
    return re.search(rb"torch\.nn\.modules\.(?!loss|activation)", data) is not None
