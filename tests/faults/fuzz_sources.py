"""Archives, tables and arrays of images that were changed at random, opened and read."""

import random
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from bottleneck.data.images import open_images
from bottleneck.errors import ImageError, ImagesNotFoundError, ImagesTableError
from tests.helpers.archives import (
    class_label,
    huggingface,
    image_values,
    medmnist,
    shard,
    write_parquet,
    write_tar,
)
from tests.helpers.forked import fork
from tests.helpers.image_files import mutated

_A_BATCH = 50  # tables in one process, which may not live through all of them


def tars(seed: int, count: int) -> int:
    """Archives of every format: images, or errors of one line."""
    with _place() as place:
        whole = [_archive(place / f"{form}.tar", form) for form in (0, 1, 2)]
        for data, draw in _changed(whole, seed, count):
            _open(place / "a.tar", _with_checksums(data) if draw.random() < 0.5 else data)
    return count


def npz_files(seed: int, count: int) -> int:
    """Stored and compressed arrays: images, or errors of one line."""
    with _place() as place:
        whole = []
        for save in (np.savez, np.savez_compressed):
            save(place / "whole.npz", **medmnist({"train": 4, "test": 2}, 9, 9))
            whole.append((place / "whole.npz").read_bytes())
        for data, _ in _changed(whole, seed, count):
            _open(place / "a.npz", data)
    return count


def tables(seed: int, count: int) -> tuple[int, int]:
    """Read Parquet files in processes of their own; return how many, and how many crashed."""
    crashed = 0
    for turn in range(-(-count // _A_BATCH)):
        child = fork(_read_tables, seed + turn, min(count, _A_BATCH))
        child.join(300)
        assert child.exitcode is not None, "it hangs"
        assert child.exitcode <= 0, f"seed {seed + turn}"
        crashed += child.exitcode < 0
    return count, crashed


def _read_tables(seed: int, count: int) -> None:
    import resource

    limit = 16 << 30  # of addresses: a process that would take more gets an error
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    with _place() as place:
        columns = {"image": image_values(range(6)), "label": [0, 1, 0, 1, 0, None]}
        metadata = huggingface(label=class_label("cat", "dog"))
        path = write_parquet(place / "whole.parquet", columns, metadata=metadata, group=3)
        for data, _ in _changed([path.read_bytes()], seed, count):
            _open(place / "a.parquet", data)


def _archive(path: Path, form: int) -> bytes:
    members = {**shard(range(3), split="train"), "d" * 90 + "/" + "é" * 40 + ".png": b"x"}
    return write_tar(path, members, format=form).read_bytes()


def _with_checksums(data: bytes) -> bytes:
    """The same with sound checksums, as whoever forged its headers would give it."""
    changed = bytearray(data)
    for at in range(0, len(changed) - 511, 512):
        if changed[at + 257 : at + 262] == b"ustar":
            changed[at + 148 : at + 156] = b" " * 8
            changed[at + 148 : at + 156] = b"%06o\0 " % sum(changed[at : at + 512])
    return bytes(changed)


@contextmanager
def _place() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


def _changed(whole: list[bytes], seed: int, count: int) -> Iterator[tuple[bytes, random.Random]]:
    draw = random.Random(seed)
    for _ in range(count):
        data = draw.choice(whole)
        # Where changes begin: a Parquet file is described at its end.
        place = draw.choice([0, draw.randrange(len(data)), max(0, len(data) - 1200)])
        yield (
            data[:place] + mutated(data[place:], draw.randrange(1 << 32), draw.randint(1, 4)),
            draw,
        )


def _open(path: Path, data: bytes) -> None:
    """Open and read; anything but images and errors of one line fails."""
    path.write_bytes(data)
    try:
        source = open_images(path)
    except (ImagesTableError, ImagesNotFoundError) as error:
        assert "\n" not in str(error)
        return
    for row in range(min(len(source.table), 50)):
        assert path.name in source.path(row)
        try:
            assert isinstance(source.read(row), bytes)
        except ImageError as error:
            assert "\n" not in str(error)
