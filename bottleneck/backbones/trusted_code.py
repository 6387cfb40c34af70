"""Trust: which files of code may be run because a head or a cache names them.

Heads and caches come from anybody, so a network in them that is code, ``file.py:factory``, is run
only if the user has named that very code to this program before. Its digest is remembered, not its
place: a file that was changed is another. (So does direnv with its ``.envrc``.)
"""

import contextlib
import os
from pathlib import Path

from bottleneck.errors import UntrustedCodeError
from bottleneck.runtime.files import sha256


def trust_code(model: str) -> None:
    """Remember that the user named a network that is code; any other model is left alone."""
    digest = _digest(model)
    if digest and digest not in _named():
        # Whoever has no home that can be written to names the file each time.
        with contextlib.suppress(OSError):
            _place().parent.mkdir(parents=True, exist_ok=True)
            with _place().open("a", encoding="ascii") as file:
                file.write(f"{digest}\n")


def require_trusted_code(model: str, *, where: str) -> str:
    """The model, unless it is code that the user has never named.

    Parameters
    ----------
    model : str
        As a head or a cache says.
    where : str
        Which, for the message.

    Raises
    ------
    UntrustedCodeError
        It is a ``file.py:factory`` that is there and was not named.
    """
    digest = _digest(model)
    if digest and digest not in _named():
        raise UntrustedCodeError(
            f"{where} names a network that is code, {model}: if you trust that file, run it with "
            f"`model={model}`"
        )
    return model


def _digest(model: str) -> str:
    """Of the file that would be run; empty where there is none."""
    file = Path(model.rpartition(":")[0])
    return sha256(file.read_bytes()) if file.is_file() else ""


def _named() -> set[str]:
    try:
        return set(_place().read_text("ascii", errors="replace").split())
    except OSError:  # there is none, or it is somebody else's
        return set()


def _place() -> Path:
    state = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(state) / "bottleneck" / "named-code"
