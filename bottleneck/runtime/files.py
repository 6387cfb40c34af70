"""Files that are whole or absent, and digests of what they hold."""

import contextlib
import errno
import glob
import hashlib
import mmap
import os
import secrets
import socket
import stat
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from bottleneck.errors import OutputExistsError, UnwritableOutputError

_MARK = ".tmp~"
_DAY = 24 * 3600


@contextlib.contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Write a file whole or not at all.

    The block writes to the temporary path that it is given, in the same folder. When the block
    ends without an error the bytes are forced to the disk and renamed to `path`, replacing
    what was there, whose permissions stay; otherwise the temporary file is removed and `path` is
    left as it was.

    Parameters
    ----------
    path : Path
        Final path of the file. Its folder is made if necessary.

    Yields
    ------
    Path
        The temporary file to write.

    Raises
    ------
    OSError
        `path` is a folder, or the disk refused the bytes, the sync or the rename. It names `path`.
    """
    if path.is_dir():  # the rename would fail, and name the temporary file
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    # The host and the process are part of the name, so that a later run can tell the temporary
    # files of a dead process from those of a live one.
    name = f".{path.name}.{_host_id()}.{os.getpid()}.{secrets.token_hex(4)}{_MARK}"
    temporary = path.parent / name
    # Open from before the first byte until after the last: a network file system may report lost
    # bytes only at the sync, and only through a handle that was open when they were written.
    with _naming(path):
        handle = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
        try:
            yield temporary
            _keep_permissions(path, temporary)
            os.fsync(handle)
            temporary.replace(path)
            fsync_path(path.parent)  # the rename itself lives in the folder
        finally:
            os.close(handle)
            temporary.unlink(missing_ok=True)


def _keep_permissions(path: Path, temporary: Path) -> None:
    """Give a file the permissions of the one that it replaces.

    Else a user with a stricter umask than others would lock them out of a cache that they share.
    """
    with contextlib.suppress(OSError):  # there is no such file, or the file system has no such mode
        mode = stat.S_IMODE(path.stat().st_mode)
        if mode != stat.S_IMODE(temporary.stat().st_mode):
            temporary.chmod(mode)


@contextlib.contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Have errors name a file, where they name its temporary file or, as a write's do, none."""
    try:
        yield
    except OSError as error:
        if error.errno and (error.filename is None or str(error.filename).endswith(_MARK)):
            raise OSError(error.errno, error.strerror, str(path)) from error
        raise


def write_text_atomic(path: Path, text: str) -> None:
    """Write a UTF-8 text file whole or not at all (file names in it may hold any bytes)."""
    with atomic_write(path) as temporary:
        temporary.write_bytes(_encoded(text))


def write_lines_atomic(path: Path, lines: Iterable[str]) -> None:
    """Write a UTF-8 text file line by line, whole or not at all, without all lines in memory."""
    remove_stale_temp_files_of(path)  # of a run that was killed while it wrote
    with atomic_write(path) as temporary, temporary.open("wb") as file:
        file.writelines(_encoded(f"{line}\n") for line in lines)


def holds_text(path: Path, text: str) -> bool:
    """Return whether there is a file, and it holds what `write_text_atomic` writes."""
    return path.is_file() and path.read_bytes() == _encoded(text)


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", errors="surrogateescape")


def fsync_path(path: Path) -> None:
    """Force a file's or a folder's bytes to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def require_writable_output(path: Path, *, overwrite: bool, parameter: str = "out") -> None:
    """Refuse to replace a file unless asked to, or to write into a read-only folder.

    Parameters
    ----------
    path : Path
        The file to be written.
    overwrite : bool
        Whether a file that exists may be replaced.
    parameter : str
        The parameter that named it, for the message.

    Raises
    ------
    OutputExistsError
        It exists and `overwrite` is false, or it cannot be a file.
    UnwritableOutputError
        Its folder cannot be written; what was computed would be lost.
    """
    if path.is_dir():
        raise OutputExistsError(f"{path} is a folder", hint=f"name a file with `{parameter}`")
    if path.parent.exists() and not path.parent.is_dir():
        raise OutputExistsError(
            f"{path.parent} is a file, not a folder",
            hint=f"name another place with `{parameter}`",
        )
    if path.exists() and not overwrite:
        raise OutputExistsError(
            f"{path} exists",
            hint=f"name another file with `{parameter}`, or replace it with `overwrite`",
        )
    folder = next(parent for parent in path.absolute().parents if parent.exists())
    if not os.access(folder, os.W_OK | os.X_OK):
        raise UnwritableOutputError(
            f"{path} cannot be written: the folder {folder} is read-only here",
            hint=f"name another place with `{parameter}`",
        )


def remove_stale_temp_files(folder: Path) -> None:
    """Remove the temporary files under a folder that dead processes left.

    A process ID says something only on the machine, and in the container, that gave it. Files of
    other writers are removed when they are a day old: no write takes that long.

    Parameters
    ----------
    folder : Path
        Searched with all folders below it.
    """
    _remove_stale(folder.rglob(f".*{_MARK}"))


def remove_stale_temp_files_of(path: Path) -> None:
    """Remove the temporary files of one file that dead processes left beside it.

    Parameters
    ----------
    path : Path
        As `atomic_write` is given it.
    """
    _remove_stale(path.parent.glob(f".{glob.escape(path.name)}.*{_MARK}"))


def _remove_stale(temporary: Iterable[Path]) -> None:
    host = _host_id()
    for path in temporary:
        owner, _, pid = path.name.removesuffix(_MARK).rpartition(".")[0].rpartition(".")
        is_ours = owner.endswith(f".{host}") and pid.isdecimal()
        if (is_ours and not _alive(int(pid))) or _older_than_a_day(path):
            path.unlink(missing_ok=True)


def _host_id() -> str:
    """Return the host's name, and on Linux a digest of what gives process IDs their meaning."""
    namespace = _process_namespace()
    return "-".join([socket.gethostname(), *([sha256(namespace)[:8]] if namespace else [])])


def _process_namespace() -> bytes:
    """Return what tells apart the process IDs of containers and of machines of one host name.

    Each container counts its processes itself; a machine draws a new ID whenever it starts.
    """
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_bytes()
        return boot + str(Path("/proc/self/ns/pid").stat().st_ino).encode()
    except OSError:  # not Linux, or hidden
        return b""


def _older_than_a_day(path: Path) -> bool:
    try:
        return time.time() - path.stat().st_mtime > _DAY
    except FileNotFoundError:
        return False  # it was just renamed to the finished file


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True  # the process exists, of another user
    return True


def state_directory() -> Path:
    """Return where this program remembers what a user has given it (XDG base directories).

    Raises
    ------
    FileNotFoundError
        No variable names a home directory, and the system does not know the user: a container
        that runs under any number.

    Examples
    --------
    >>> state_directory().name
    'bottleneck'
    """
    return Path(os.environ.get("XDG_STATE_HOME") or _home() / ".local" / "state") / "bottleneck"


def _home() -> Path:
    try:
        return Path.home()
    except RuntimeError as error:
        raise FileNotFoundError(errno.ENOENT, "the user has no home directory") from error


def sha256(*parts: bytes | memoryview) -> str:
    """Return the hexadecimal SHA-256 of the parts, one after another.

    Examples
    --------
    >>> sha256(b"ab", b"c")[:16]
    'ba7816bf8f01cfea'
    """
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    return digest.hexdigest()


NO_DIGEST = "0" * 64


def write_own_digest(path: Path) -> None:
    """Replace the first `NO_DIGEST` in a file by the file's SHA-256.

    Parameters
    ----------
    path : Path

    Raises
    ------
    OSError
        The file could not be written.
    """
    with path.open("r+b") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        file.seek(content.find(NO_DIGEST.encode()))
        file.write(hashlib.sha256(content).hexdigest().encode())


def has_own_digest(path: Path, digest: str) -> bool:
    """Return whether the bytes of a file are those to which `write_own_digest` gave a digest.

    Parameters
    ----------
    path : Path
        Not read into memory at once.
    digest : str
        Which the file holds.
    """
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        start = content.find(digest.encode())
        with memoryview(content) as view:
            zeroed = sha256(view[:start], NO_DIGEST.encode(), view[start + len(digest) :])
    return start >= 0 and zeroed == digest
