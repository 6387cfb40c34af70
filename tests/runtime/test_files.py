import errno
import hashlib
import os
import re
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from bottleneck.errors import UnwritableOutputError
from bottleneck.runtime import files
from bottleneck.runtime.files import (
    _host_id,
    atomic_write,
    has_own_digest,
    remove_stale_temp_files,
    remove_stale_temp_files_of,
    require_writable_output,
    sha256,
    write_lines_atomic,
    write_own_digest,
    write_text_atomic,
)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_published_file_has_its_bytes_and_leaves_nothing_beside_it(tmp_path: Path) -> None:
    with atomic_write(tmp_path / "deep" / "a.bin") as temporary:
        temporary.write_bytes(b"whole")
    assert (tmp_path / "deep" / "a.bin").read_bytes() == b"whole"
    assert names(tmp_path / "deep") == ["a.bin"]


def test_an_error_keeps_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(b"old")
    with pytest.raises(RuntimeError), atomic_write(path) as temporary:
        temporary.write_bytes(b"half")
        raise RuntimeError
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["a.bin"]


def test_a_replaced_file_keeps_its_permissions_and_a_new_one_has_those_of_the_umask(
    tmp_path: Path,
) -> None:
    shared = tmp_path / "shared"
    shared.touch()
    shared.chmod(0o664)
    umask = os.umask(0o077)
    try:
        for path in (shared, tmp_path / "new"):
            write_text_atomic(path, "text")
    finally:
        os.umask(umask)
    modes = [stat.S_IMODE(path.stat().st_mode) for path in (shared, tmp_path / "new")]
    assert modes == [0o664, 0o600]


def test_a_folder_is_refused_by_its_own_name_before_anything_is_written(tmp_path: Path) -> None:
    folder = tmp_path / "head.safetensors"
    folder.mkdir()
    with pytest.raises(IsADirectoryError) as caught, files.atomic_write(folder):
        pytest.fail("there is nothing to write")
    assert caught.value.filename == str(folder)
    assert list(tmp_path.iterdir()) == [folder]


def test_the_name_appears_only_when_the_bytes_are_whole(tmp_path: Path) -> None:
    with atomic_write(tmp_path / "a.bin") as temporary:
        temporary.write_bytes(b"half")
        assert not (tmp_path / "a.bin").exists()
        assert temporary.parent == tmp_path  # a rename across file systems is no rename


def test_bytes_and_folder_are_synced_around_the_rename_and_the_old_file_is_there_until_then(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    events: list[str] = []
    fsync, replace = os.fsync, Path.replace

    def spy_fsync(handle: int) -> None:
        events.append("fsync folder" if Path(f"/proc/self/fd/{handle}").is_dir() else "fsync file")
        fsync(handle)

    def spy_replace(path: Path, target: Path) -> Path:
        events.append(f"rename over {target.read_text()}")
        return replace(path, target)

    monkeypatch.setattr(os, "fsync", spy_fsync)
    monkeypatch.setattr(Path, "replace", spy_replace)
    (tmp_path / "a.txt").write_text("old")
    write_text_atomic(tmp_path / "a.txt", "new")
    assert events == ["fsync file", "rename over old", "fsync folder"]
    assert (tmp_path / "a.txt").read_text() == "new"


def test_a_failed_sync_publishes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_text_atomic(tmp_path / "a.txt", "x")
    assert names(tmp_path) == []


@pytest.mark.parametrize("owner", [(os, "open"), (os, "fsync"), (Path, "replace")])
def test_what_the_disk_refuses_has_the_name_of_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, owner: tuple[object, str]
) -> None:
    def refuse(*names: object, **_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", *map(str, names[:1] * by_name))

    by_name = owner[1] != "fsync"  # a sync and a write know no name
    monkeypatch.setattr(*owner, refuse)
    path = tmp_path / "new.txt"
    with pytest.raises(OSError, match=f"No space left on device: '{re.escape(str(path))}'$"):
        write_text_atomic(path, "bytes")


def test_an_error_of_another_file_keeps_its_name(tmp_path: Path) -> None:
    with (
        pytest.raises(FileNotFoundError, match=r"absent'$"),
        atomic_write(tmp_path / "new.txt"),
    ):
        (tmp_path / "absent").read_bytes()


def test_names_of_any_bytes_can_be_written(tmp_path: Path) -> None:
    write_text_atomic(tmp_path / "a.txt", "caf\udce9")
    assert (tmp_path / "a.txt").read_bytes() == b"caf\xe9"


def test_lines_are_on_the_disk_before_the_last_one_is_made(tmp_path: Path) -> None:
    def lines() -> Iterator[str]:
        yield "caf\udce9"
        yield from ["x" * 1000] * 100
        (temporary,) = tmp_path.iterdir()
        assert temporary.stat().st_size > 50_000
        yield "last"

    write_lines_atomic(tmp_path / "a.txt", lines())
    written = (tmp_path / "a.txt").read_bytes()
    assert written == b"caf\xe9\n" + b"".join([b"x" * 1000 + b"\n"] * 100) + b"last\n"


def test_lines_of_which_one_cannot_be_made_leave_the_file_as_it_was(tmp_path: Path) -> None:
    def lines() -> Iterator[str]:
        yield "new"
        raise RuntimeError

    write_text_atomic(tmp_path / "a.txt", "old")
    with pytest.raises(RuntimeError):
        write_lines_atomic(tmp_path / "a.txt", lines())
    assert names(tmp_path) == ["a.txt"]
    assert (tmp_path / "a.txt").read_text() == "old"


def test_temporary_files_of_dead_processes_are_removed_and_of_live_ones_kept(
    tmp_path: Path,
) -> None:
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    host = _host_id()
    gone = tmp_path / "codes" / f".0.h5.{host}.{dead.pid}.abcd.tmp~"
    kept = [
        tmp_path / f".0.h5.{host}.{os.getpid()}.abcd.tmp~",
        tmp_path / f".0.h5.elsewhere.{dead.pid}.abcd.tmp~",
        tmp_path / f".0.h5.{socket.gethostname()}.{dead.pid}.abcd.tmp~",  # perhaps a container's
        tmp_path / "00000.h5",
        tmp_path / ".hidden",
    ]
    gone.parent.mkdir()
    for path in [gone, *kept]:
        path.touch()
    remove_stale_temp_files(tmp_path)
    assert not gone.exists()
    assert all(path.exists() for path in kept)


def test_temporary_files_that_another_process_removes_are_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = tmp_path / f".0.h5.{_host_id()}.7.abcd.tmp~"
    left.touch()

    def gone_meanwhile(_pid: int) -> bool:
        left.unlink()
        return False

    monkeypatch.setattr(files, "_alive", gone_meanwhile)
    remove_stale_temp_files(tmp_path)
    assert names(tmp_path) == []


def test_a_container_of_the_same_host_name_keeps_its_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # In its own namespace the other process lives, under a number that is free in this one.
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    monkeypatch.setattr(os, "getpid", lambda: dead.pid)
    with monkeypatch.context() as container:
        container.setattr(files, "_process_namespace", lambda: b"another")
        writer = atomic_write(tmp_path / "a.bin")
        temporary = writer.__enter__()
    temporary.write_bytes(b"half")
    remove_stale_temp_files(tmp_path)
    assert temporary.exists()
    writer.__exit__(None, None, None)
    assert names(tmp_path) == ["a.bin"]


def test_without_proc_the_host_name_is_all(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(_path: Path) -> bytes:
        raise FileNotFoundError

    monkeypatch.setattr(Path, "read_bytes", absent)
    assert _host_id() == socket.gethostname()


def test_temporary_files_older_than_a_day_are_removed(tmp_path: Path) -> None:
    old = tmp_path / ".0.h5.elsewhere.1.abcd.tmp~"
    young = tmp_path / ".1.h5.elsewhere.1.abcd.tmp~"
    for path, hours in ((old, 25), (young, 23)):
        path.touch()
        then = time.time() - hours * 3600
        os.utime(path, (then, then))
    remove_stale_temp_files(tmp_path)
    assert names(tmp_path) == [young.name]


def test_only_temporary_files_of_the_given_file_are_removed(tmp_path: Path) -> None:
    mine, other = tmp_path / ".a[1].x.elsewhere.1.abcd.tmp~", tmp_path / ".b.elsewhere.1.abcd.tmp~"
    for path in (mine, other):
        path.touch()
        os.utime(path, (0, 0))
    remove_stale_temp_files_of(tmp_path / "a[1].x")
    assert names(tmp_path) == [other.name]


def test_the_file_is_open_for_the_sync_before_it_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The system tells of a failed write only those who had the file open by then.
    synced: list[int] = []
    opened: list[int] = []
    monkeypatch.setattr(os, "fsync", lambda handle: synced.append(os.fstat(handle).st_ino))
    with atomic_write(tmp_path / "a.bin") as temporary:
        here = temporary.stat().st_ino
        fds = list(Path("/proc/self/fd").iterdir())
        opened = [path.stat().st_ino for path in fds if path.exists()]
        temporary.write_bytes(b"x")
    assert here in opened
    assert synced[0] == here


def test_the_name_that_publish_chooses_is_known_to_the_sweeper(tmp_path: Path) -> None:
    code = (
        "import os, pathlib; from bottleneck.runtime.files import atomic_write\n"
        f"with atomic_write(pathlib.Path({str(tmp_path)!r}) / 'a.h5') as t:\n"
        "    t.write_bytes(b'half'); os._exit(9)"
    )
    subprocess.run([sys.executable, "-c", code], check=False)
    assert len(names(tmp_path)) == 1
    remove_stale_temp_files(tmp_path)
    assert names(tmp_path) == []


def test_sha256_is_over_the_parts_in_order() -> None:
    assert sha256(b"ab", memoryview(b"c")) == hashlib.sha256(b"abc").hexdigest()


def test_a_file_holds_its_digest_and_any_changed_byte_is_found(tmp_path: Path) -> None:
    path, start, end = tmp_path / "a", b"a: ", b" and " + b"0" * 64
    path.write_bytes(start + b"0" * 64 + end)
    write_own_digest(path)
    written = path.read_bytes()
    digest = hashlib.sha256(start + b"0" * 64 + end).hexdigest()
    assert written == start + digest.encode() + end
    assert has_own_digest(path, digest) and path.read_bytes() == written
    for at in range(len(written)):
        changed = bytearray(written)
        changed[at] ^= 1
        path.write_bytes(changed)
        assert not has_own_digest(path, digest)
        assert not has_own_digest(path, changed[len(start) :][:64].decode())


def test_an_output_in_a_folder_that_cannot_be_written_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != tmp_path)  # root may write
    require_writable_output(tmp_path.parent / "out", overwrite=False)
    for out in (tmp_path / "out", tmp_path / "new" / "deep" / "out"):
        with pytest.raises(UnwritableOutputError, match=f"{out} cannot .* {tmp_path} .* `plot`"):
            require_writable_output(out, overwrite=False, parameter="plot")
