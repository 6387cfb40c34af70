"""File kinds: recognise files that are no weights, and say what they are and what to do."""

import re
import string
import zipfile
from pathlib import Path

_HEAD = 1024  # bytes: enough for the marks of every kind below
_ZIP = b"PK\x03\x04"

# How files begin that people mistake for weights, what they are, and the next step.
_MARKS: tuple[tuple[bytes, str, str], ...] = (
    (b"\x89HDF", "an HDF5 file, as Keras writes weights", "convert it to a state dict of PyTorch"),
    (b"\x93NUMPY", "an array of NumPy", "save the weights with torch.save or safetensors"),
    (b"\x1f\x8b", "compressed with gzip", "unpack it"),
    (b"BZh", "compressed with bzip2", "unpack it"),
    (b"\xfd7zXZ", "compressed with xz", "unpack it"),
    (b"\x28\xb5\x2f\xfd", "compressed with zstd", "unpack it"),
    (b"7z\xbc\xaf", "a 7z archive", "unpack it"),
    (b"Rar!", "a RAR archive", "unpack it"),
    # A version, then the producer's name: onnx.proto, ModelProto.
    *(
        (bytes([8, version, 18]), "an ONNX graph", "give the weights that it was exported from")
        for version in range(3, 16)
    ),
)

_FETCH_LFS = "run 'git lfs pull' in its repository, or download the file itself"
_FETCH_ANNEX = "run 'git annex get' in its repository"
_FETCH_PAGE = "download it again by the link of the file itself, logged in if the site asks for it"
_FETCH_AGAIN = "copy or download it again"

_PAGE_MARKS = (b"<!doctype html", b"<html")  # in any encoding
_TEXTS = (
    (b"version https://git-lfs", f"is a pointer of Git LFS, not the file itself: {_FETCH_LFS}"),
    (b"/annex/objects/", f"is a pointer of git-annex, not the file itself: {_FETCH_ANNEX}"),
    (
        b'"weight_map"',
        "is the index of weights in several files: load each, and save all tensors in one file",
    ),
    (b"<?xml", f"is an answer in XML, not weights: {_FETCH_PAGE}"),
    (b"<error", f"is an answer in XML, not weights: {_FETCH_PAGE}"),
)

_TORCHSCRIPT = (
    "is a TorchScript program, not weights: save its weights with "
    "torch.save(torch.jit.load(file).state_dict(), 'weights.pth')"
)


def explain_unreadable(file: Path) -> str:
    r"""Return what a file is if it holds no weights, and the next step; empty if it may hold some.

    Parameters
    ----------
    file : Path
        It exists. Its first bytes are read, and the table of contents of an archive.

    Returns
    -------
    str
        The rest of a sentence that begins with the file's name.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file = Path(folder) / "resnet50.pth"
    ...     _ = file.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\n")
    ...     print(explain_unreadable(file).partition(":")[0])
    is a pointer of Git LFS, not the file itself
    """
    size = file.stat().st_size
    if not size:
        return f"is empty: {_FETCH_AGAIN}"
    with file.open("rb") as opened:
        head = opened.read(_HEAD)
        opened.seek(min(257, size))
        is_tar = opened.read(5) == b"ustar"
    for mark, kind, next_step in _MARKS:
        if head.startswith(mark):
            return f"is {kind}, not weights of PyTorch: {next_step}"
    if is_tar:
        return "is a tar archive: unpack it, and name the weights in it"
    if head.startswith(_ZIP):
        return _explain_archive(file)
    if is_safetensors(head, size=None):
        return "" if is_safetensors(head, size=size) else f"is cut off: {_FETCH_AGAIN}"
    return _explain_text(head)


def is_safetensors(head: bytes, *, size: int | None) -> bool:
    """Return whether a file begins as safetensors does: a length, then JSON of that length.

    Parameters
    ----------
    head : bytes
        The first bytes of the file.
    size : int or None
        The file's size in bytes; None to leave it out of account.

    Examples
    --------
    >>> head = (2).to_bytes(8, "little") + b"{}"
    >>> is_safetensors(head, size=10), is_safetensors(head, size=9), is_safetensors(b"PK", size=2)
    (True, False, False)
    """
    length = int.from_bytes(head[:8], "little")
    # A header of a hundred million bytes is the most that the format allows.
    return head[8:9] == b"{" and length <= 100_000_000 and (size is None or 8 + length <= size)


def _explain_archive(file: Path) -> str:
    if not zipfile.is_zipfile(file):  # the table of contents is at the end
        return f"is cut off after {file.stat().st_size} bytes: {_FETCH_AGAIN}"
    with zipfile.ZipFile(file) as archive:
        names = [name.partition("/")[2] or name for name in archive.namelist()]
    if "constants.pkl" in names:
        return _TORCHSCRIPT
    if "data.pkl" in names:
        return ""
    shown = ", ".join(ascii(name)[1:-1][:40] for name in names[:3])
    return f"is an archive of other files ({shown}), not weights: unpack it, and name those in it"


def _explain_text(head: bytes) -> str:
    """Return what a text is; empty if it is none."""
    start, text = head.lstrip().lower(), _decode(head)
    if start.startswith(_PAGE_MARKS) or (text and (b"<head" in start or b"<body" in start)):
        return f"is a web page, not weights: {_FETCH_PAGE}"
    if not text:
        return ""
    for mark, reason in _TEXTS:
        if mark in start:
            return reason
    kind = "JSON" if start.startswith((b"{", b"[")) else "text"
    return f"is {kind} ({' '.join(text.split())[:40]!r}), not weights"


def _decode(head: bytes) -> str | None:
    """Return the text of a file's beginning; None if it is no text."""
    try:
        text = head.decode("utf-8")
    except UnicodeDecodeError as error:
        if error.start < len(head) - 3:  # else a character is cut in two
            return None
        text = head[: error.start].decode("utf-8")
    control = set(map(chr, range(32))) - set(string.whitespace)
    return None if control & set(text) or not re.search(r"\w", text) else text
