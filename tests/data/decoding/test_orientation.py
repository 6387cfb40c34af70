import struct

import numpy as np
import pytest
from PIL import Image, ImageOps

from bottleneck.data.decoding.orientation import read_orientation, upright
from tests.helpers.image_files import BROKEN_EXIF, exif_of, noise

HEAD = {"<": b"II*\0\x08\0\0\0", ">": b"MM\0*\0\0\0\x08"}


def directory(order: str, *entries: tuple[int, int, int, bytes]) -> bytes:
    packed = (struct.pack(f"{order}HHL", *entry[:3]) + entry[3] for entry in entries)
    return HEAD[order] + struct.pack(f"{order}H", len(entries)) + b"".join(packed) + bytes(4)


def turned(order: str, orientation: int) -> tuple[int, int, int, bytes]:
    return 0x0112, 3, 1, struct.pack(f"{order}HH", orientation, 0)


@pytest.mark.parametrize("orientation", range(10))
def test_an_image_becomes_upright_as_by_pillow(orientation: int) -> None:
    pixels = noise(5, 7, 3)
    image = Image.fromarray(pixels)
    image.getexif()[0x0112] = orientation
    found = upright(pixels, orientation)
    np.testing.assert_array_equal(found, np.asarray(ImageOps.exif_transpose(image)))
    assert found.flags.c_contiguous


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("orientation", [0, 1, 6, 8, 9])
def test_the_orientation_is_read(order: str, orientation: int) -> None:
    assert read_orientation(directory(order, turned(order, orientation))) == orientation


def test_exif_written_by_pillow_is_read() -> None:
    assert read_orientation(exif_of(7).tobytes()[6:]) == 7


def test_without_the_tag_it_is_zero() -> None:
    assert read_orientation(directory("<", (0x0131, 2, 3, b"ab\0\0"))) == 0


@pytest.mark.parametrize(
    "entry",
    [
        (0x0112, 3, 2, bytes(4)),  # two orientations
        (0x0112, 4, 1, b"\6\0\0\0"),  # another type
        (0x0112, 3, 1, b"\1\0\0\0"),  # given a second time
        (0x010F, 2, 9, b"\xff\0\0\0"),  # a text that is out of reach
        (0x010F, 2, 0, bytes(4)),  # no text
        (0x010F, 13, 1, bytes(4)),  # an unknown type
        (0x011A, 2, 1, b"7\0\0\0"),  # a letter for the resolution
        (0x0128, 4, 1, bytes(4)),
    ],
)
def test_whatever_is_unusual_is_not_understood(entry: tuple[int, int, int, bytes]) -> None:
    assert read_orientation(directory("<", turned("<", 6))) == 6
    assert read_orientation(directory("<", entry, turned("<", 6))) is None


def test_values_that_overlap_beyond_the_block_are_not_understood() -> None:
    text = (0x010F, 2, 30, b"\x08\0\0\0")
    assert read_orientation(directory("<", text, turned("<", 6))) == 6
    other = (0x0110, 2, 30, b"\x08\0\0\0")
    assert read_orientation(directory("<", text, other, turned("<", 6))) is None


@pytest.mark.parametrize("name", BROKEN_EXIF)
def test_a_broken_block_is_not_understood(name: str) -> None:
    assert read_orientation(BROKEN_EXIF[name]) is None


def test_a_block_that_is_cut_anywhere_is_not_understood() -> None:
    whole = directory(">", turned(">", 6))
    assert [read_orientation(whole[:end]) for end in range(len(whole))] == [None] * len(whole)
