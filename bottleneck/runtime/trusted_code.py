"""Trusted code: which Python files may be executed because a head or a cache names them.

Heads and caches are untrusted input. If one names a network that is code, ``file.py:factory``, that
file is executed only if the user has given the same code to this program before. The digest of the
file is remembered, not its path: a file that was changed is another one. (direnv does the same
with its ``.envrc``.)
"""

import contextlib
from pathlib import Path

from bottleneck.errors import UntrustedCodeError
from bottleneck.runtime.files import sha256, state_directory


def trust_code(model: object) -> None:
    """Remember that the user gave a network that is code.

    Parameters
    ----------
    model : str or nn.Module
        ``path/to/file.py:factory``; nothing is remembered of anything else.
    """
    digest = _digest(model)
    if digest and digest not in _trusted_digests():
        # Without a writable home directory nothing is remembered, and the user is asked each time.
        with contextlib.suppress(OSError):
            _trust_file().parent.mkdir(parents=True, exist_ok=True)
            with _trust_file().open("a", encoding="ascii") as file:
                file.write(f"{digest}\n")


def require_trusted_code(model: str, *, where: str) -> str:
    """Return the model, unless it is code that the user has never given.

    Parameters
    ----------
    model : str
        As a head or a cache names it.
    where : str
        Name of that head or cache, for the message.

    Raises
    ------
    UntrustedCodeError
        It is a ``file.py:factory`` that exists and is not trusted.

    Examples
    --------
    >>> require_trusted_code("resnet50", where="the head")
    'resnet50'
    """
    digest = _digest(model)
    if digest and digest not in _trusted_digests():
        raise UntrustedCodeError(
            f"{where} names a network that is code, {model}",
            hint=f"if you trust that file, run it with `model={model}`",
        )
    return model


def _digest(model: object) -> str:
    """Return the digest of the file that would be executed, or an empty string."""
    if not isinstance(model, str):
        return ""
    file = Path(model.rpartition(":")[0])
    return sha256(file.read_bytes()) if file.is_file() else ""


def _trusted_digests() -> set[str]:
    try:
        return set(_trust_file().read_text("ascii", errors="replace").split())
    except OSError:  # absent, or not readable
        return set()


def _trust_file() -> Path:
    return state_directory() / "named-code"
