"""A folder of hostile files, each of which must become a right code or a named rejection.

Generated, not stored; the pixels of the readable kinds are known, and `test_decode.py` holds each
against them. Here is what happens to all of them together, under every kind of name.
"""

import base64
import io
import os
import socket
import struct
import unicodedata
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from tests.helpers.image_files import BOMBS, BROKEN_EXIF, FILES, RARE, RGB, encode

GOOD = encode(RGB, "PNG")


@dataclass(frozen=True)
class Hostile:
    """One file, or what passes for one.

    Attributes
    ----------
    name : str
        Relative to the folder; any bytes, surrogate-escaped.
    readable : bool or None
        Whether it gives a code; None where either is right.
    make : callable
        Puts it at a path.
    """

    name: str
    readable: bool | None
    make: Callable[[Path], object]


def corpus() -> list[Hostile]:
    """At least sixty kinds."""
    return [*_contents(), *_names(), *_things()]


def _file(name: str, data: bytes, readable: bool | None) -> Hostile:
    return Hostile(name, readable, lambda path: path.write_bytes(data))


def _contents() -> Iterator[Hostile]:
    for kind, data in FILES.items():
        yield _file(f"format {kind}.jpg", data, True)  # whatever its name says
    for kind, text in RARE.items():
        yield _file(f"rare {kind.replace('/', '-')}.jpg", base64.b64decode(text), None)
    for kind, data in BOMBS.items():
        yield _file(f"bomb {kind}.png", data, False)
    for kind in ("jpeg", "jpeg-progressive", "png"):
        for tenths in range(10):
            data = FILES[kind][: len(FILES[kind]) * tenths // 10]
            yield _file(f"cut {kind} {tenths}.jpg", data, False)
    for kind, block in BROKEN_EXIF.items():
        yield _file(f"exif {kind}.jpg", encode(RGB, "JPEG", exif=b"Exif\0\0" + block), True)
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = orientation
        yield _file(f"turned {orientation}.jpg", encode(RGB, "JPEG", exif=exif), True)
    for kind, profile in {"noise": os.urandom(400), "empty": b"", "short": b"\0\0"}.items():
        yield _file(f"profile {kind}.jpg", encode(RGB, "JPEG", icc_profile=profile), True)
        yield _file(f"profile {kind}.png", encode(RGB, "PNG", icc_profile=profile), True)
    for kind, data in {
        "zeros": bytes(5000),
        "text": b"<html>not found</html>",
        "pickle": b"\x80\x04\x95" + bytes(50),
        "svg": b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        "eps": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
        "pdf": b"%PDF-1.4\n",
        "nothing": b"",
        "one byte": b"\xff",
        "markers": b"\xff\xd8" + b"\xff\xda" * 5000,
    }.items():
        yield _file(f"no image {kind}.png", data, False)
    yield _file("twelve bits.jpg", _twelve_bits(), False)
    yield _file("float.tiff", encode(Image.new("F", (9, 9)), "TIFF"), False)
    yield _file("one pixel.jpg", encode(Image.new("RGB", (1, 1)), "JPEG"), True)
    yield _file("a line.png", encode(Image.new("L", (65500, 1)), "PNG"), None)
    yield _file("a narrow strip.jpg", encode(Image.new("L", (1, 65500)), "JPEG"), None)
    yield _file("many scans.jpg", _many_scans(), False)
    yield _file("a claim.tiff", _tiff_of_claims(), False)
    yield _file("much text.png", _png_with(b"zTXt", b"a\0\0" + b"\x78\x9c" + bytes(100)), None)


def _names() -> Iterator[Hostile]:
    names = [
        "new\nline.png",
        "carriage\rreturn.png",
        " spaces  .png",
        "tab\t.png",
        "-rf.png",
        "--help.png",
        "quo\"te's.png",
        "com,ma.png",
        "per%2Fcent.png",
        "%s%n.png",
        "$(touch x) `id`;.png",
        "back\\slash.png",
        "*?[a].png",
        "a" * 251 + ".png",
        unicodedata.normalize("NFC", "é.png"),
        unicodedata.normalize("NFD", "é.png"),
        "right\u202eto left.png",
        "zero\u200bwidth.png",
        "line\u2028separator.png",
        "\U0001f41c.png",
        os.fsdecode(b"no utf-8 \xe9\xff.png"),
        os.fsdecode(b"half \xf0\x9f.png"),
        "\x01\x1b[31m.png",
        "\x7f.png",
        "SHOUTING.PNG",
        "two.dots.png",
    ]
    for name in names:
        yield _file(name, GOOD, True)


def _things() -> Iterator[Hostile]:
    yield Hostile("pipe.jpg", False, os.mkfifo)
    yield Hostile("socket.jpg", False, _socket)
    yield Hostile("loop.jpg", False, lambda path: path.symlink_to(path.name))
    yield Hostile("to nowhere.jpg", False, lambda path: path.symlink_to("absent"))
    yield Hostile("to a device.jpg", False, lambda path: path.symlink_to("/dev/zero"))
    yield Hostile("sparse.jpg", False, _sparse)


def _socket(path: Path) -> None:
    here = Path.cwd()
    os.chdir(path.parent)  # an address is at most 108 bytes
    try:
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(path.name)
    finally:
        os.chdir(here)


def _sparse(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(1 << 40)


def _twelve_bits() -> bytes:
    data = bytearray(FILES["jpeg"])
    frame = data.index(b"\xff\xc0")
    data[frame + 1], data[frame + 4] = 0xC1, 12
    return bytes(data)


def _many_scans() -> bytes:
    data = FILES["jpeg-progressive"]
    last = data.rindex(b"\xff\xda")
    return data[:last] + data[last:-2] * 1000 + data[-2:]


def _tiff_of_claims() -> bytes:
    """A tag with 2³² − 1 values in a file of a hundred bytes."""
    entries = [(256, 4, 1, 9), (257, 4, 1, 9), (258, 3, 0xFFFFFFFF, 8), (273, 4, 0xFFFFFFFF, 8)]
    table = b"".join(struct.pack("<HHII", *entry) for entry in entries)
    return b"II*\0\x08\0\0\0" + struct.pack("<H", len(entries)) + table + bytes(4)


def _png_with(name: bytes, content: bytes) -> bytes:
    """A sound PNG with one chunk more."""
    chunk = struct.pack(">I", len(content)) + name + content
    chunk += struct.pack(">I", zlib.crc32(name + content))
    return GOOD[:33] + chunk + GOOD[33:]


def write_corpus(folder: Path) -> list[Hostile]:
    """Make every kind that this file system takes, among good images of a class."""
    place = folder / "hostile"
    place.mkdir(parents=True)
    made = []
    for one in corpus():
        try:
            one.make(place / one.name)
        except (OSError, ValueError):
            continue  # no such names, or no such things, here
        made.append(one)
    (place / "a folder.jpg").mkdir()
    (place / "a folder.jpg" / "inside.png").write_bytes(GOOD)
    (place / "up.jpg").symlink_to("..")  # a circle of folders
    for i in range(40):
        noise = np.random.default_rng(i).integers(0, 255, (30, 40, 3), dtype=np.uint8)
        file = io.BytesIO()
        Image.fromarray(noise).save(file, "PNG")
        (folder / "good").mkdir(exist_ok=True)
        (folder / "good" / f"{i:02d}.png").write_bytes(file.getvalue())
    return made
