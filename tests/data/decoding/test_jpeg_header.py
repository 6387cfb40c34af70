"""A header that is usual says what Pillow reads, and Pillow accepts it."""

import io
import random
import struct
from contextlib import ExitStack
from typing import Any

import numpy as np
import PIL
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from PIL import Image

from bottleneck.data.decoding import decode
from bottleneck.data.decoding.decode import decode_image
from bottleneck.data.decoding.jpeg_header import has_many_scans, read_usual_header
from bottleneck.data.decoding.pillow_decoder import decode_by_pillow, pixel_limit
from bottleneck.errors import ImageError
from bottleneck.input_transform import DECODERS, InputTransform
from tests.helpers.image_files import (
    BROKEN_EXIF,
    FILES,
    OTHER,
    READS_PAST_DAMAGE,
    RGB,
    encode,
    encode_two,
    exif_of,
    mutated,
)

EXIF, XMP = b"Exif\0\0", b"http://ns.adobe.com/xap/1.0/\0"
TURNED_BY_XMP = XMP + b'<x tiff:Orientation="8"/>'
JPEG, PROGRESSIVE = FILES["jpeg"], FILES["jpeg-progressive"]
SEQUENCE = encode_two(RGB, OTHER, "MPO")


def segment(marker: int, body: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body


def with_segments(data: bytes, *segments: bytes) -> bytes:
    return data[:2] + b"".join(segments) + data[2:]


def camera_exif(order: str, orientation: int) -> bytes:
    """As cameras write it: a text and a fraction elsewhere, and another directory."""
    behind = 8 + 2 + 12 * 5 + 4
    entries = [
        struct.pack(f"{order}HHLL", 0x010F, 2, 6, behind),
        struct.pack(f"{order}HHLHH", 0x0112, 3, 1, orientation, 0),
        struct.pack(f"{order}HHLL", 0x011A, 5, 1, behind + 6),
        struct.pack(f"{order}HHLHH", 0x0128, 3, 1, 3, 0),
        struct.pack(f"{order}HHLL", 0x8769, 4, 1, behind + 14),
    ]
    head = (b"II" if order == "<" else b"MM") + struct.pack(f"{order}HLH", 42, 8, len(entries))
    values = b"Maker\0" + struct.pack(f"{order}LL", 72, 1) + bytes(20)
    return EXIF + head + b"".join(entries) + bytes(4) + values


USUAL = [
    *(FILES[name] for name in ("jpeg", "jpeg-progressive", "jpeg-grey")),
    encode(RGB, "JPEG", exif=exif_of(5), dpi=(72, 72), comment=b"hi", restart_marker_blocks=2),
    *(with_segments(JPEG, segment(0xE1, camera_exif(order, 6))) for order in "<>"),
    with_segments(PROGRESSIVE, segment(0xE1, camera_exif("<", 3)), segment(0xE1, TURNED_BY_XMP)),
    with_segments(JPEG, segment(0xE2, b"ICC_PROFILE\0\1\1profile")),
    with_segments(JPEG, segment(0xED, b"Photoshop 3.0\x008BIM\x04\x04\0\0\0\0\0\2ab")),
    with_segments(encode(RGB, "JPEG", keep_rgb=True, subsampling="4:4:4"), segment(0xFE, b"c")),
    with_segments(SEQUENCE, segment(0xE1, XMP + b' hdrgm:Version="1.0"')),
]
UNUSUAL = {
    **{name: with_segments(JPEG, segment(0xE1, EXIF + b)) for name, b in BROKEN_EXIF.items()},
    "turned by XMP": with_segments(JPEG, segment(0xE1, TURNED_BY_XMP)),
    "EXIF twice": with_segments(JPEG, *[segment(0xE1, camera_exif("<", n)) for n in (6, 3)]),
    "more pictures": SEQUENCE,
    "inks": FILES["jpeg-cmyk"],
    "a table that is cut": with_segments(JPEG, segment(0xDB, bytes(64))),
    "a table of 16 bits": with_segments(JPEG, segment(0xDB, b"\x10" + bytes(128) + bytes(66))),
    "two frames": with_segments(JPEG, segment(0xC0, b"\x08\0\x10\0\x18\1\1\x11\0")),
    "fill bytes": with_segments(JPEG, b"\xff\xff"),
    "a cut profile": with_segments(JPEG, segment(0xE2, b"ICC_PROFILE\0\1")),
    "a cut JFIF": with_segments(JPEG, segment(0xE0, b"JFIF\0")),
    "a cut resource": with_segments(JPEG, segment(0xED, b"Photoshop 3.0\x008BIM\x04\x04")),
    "a name for a resolution": with_segments(
        JPEG,
        segment(0xE1, EXIF + b"II*\0\x08\0\0\0\1\0" + struct.pack("<HHLL", 0x11A, 2, 1, 55)),
    ),
}


def read_by_pillow(data: bytes) -> tuple[int, int, int]:
    with Image.open(io.BytesIO(data), formats=["JPEG"]) as image:
        assert image.format == "JPEG"
        assert image.mode in ("RGB", "L")
        return image.width, image.height, image.getexif().get(0x0112, 0)


@pytest.mark.parametrize("data", USUAL, ids=range(len(USUAL)))
def test_a_usual_header_says_what_pillow_reads(data: bytes) -> None:
    header = read_usual_header(data)
    assert header is not None
    assert header[:3] == read_by_pillow(data)
    assert header.one_scan == ("progressive" not in Image.open(io.BytesIO(data)).info)


@READS_PAST_DAMAGE
@pytest.mark.parametrize("name", UNUSUAL)
def test_an_unusual_header_is_pillows(name: str) -> None:
    assert read_usual_header(UNUSUAL[name]) is None
    same_as_pillow_alone(UNUSUAL[name])


def test_a_header_that_is_cut_is_not_usual() -> None:
    for data in USUAL:
        scan = data.index(b"\xff\xda") if b"MPF" not in data else 2
        assert not any(read_usual_header(data[:end]) for end in range(scan + 4))


def same_as_pillow_alone(data: bytes, transform: InputTransform = InputTransform()) -> None:
    try:
        expected = decode_by_pillow(data, transform)
    except ImageError as refusal:
        with pytest.raises(ImageError) as caught:
            decode_image(data, transform)
        assert str(caught.value) == str(refusal)
    else:
        np.testing.assert_array_equal(decode_image(data, transform), expected)


def edited(data: bytes, seed: int) -> bytes:
    """Bytes of a header replaced, a segment shortened, or one put in a second time."""
    draw = random.Random(seed)
    places = [at for at in range(2, data.index(b"\xff\xda") + 2) if data[at] == 0xFF]
    at = draw.choice(places)
    length = int.from_bytes(data[at + 2 : at + 4], "big")
    end = at + 2 + length
    match draw.randrange(4):
        case 0:
            kept = draw.randrange(2, max(3, length))
            return (
                data[: at + 2] + struct.pack(">H", kept) + data[at + 4 : at + 2 + kept] + data[end:]
            )
        case 1:
            to = draw.choice(places)
            return data[:to] + data[at:end] + data[to:]
        case 2:
            return mutated(data, seed, 2)
    result = bytearray(data)
    for _ in range(draw.randrange(1, 4)):
        place = draw.randrange(at, min(end, at + 130, len(data)))
        result[place] = draw.choice([0, 1, 2, 3, 5, 8, 255, result[place] ^ 1 << draw.randrange(8)])
    return bytes(result)


@READS_PAST_DAMAGE
@pytest.mark.usefixtures("few_pixels")
@settings(deadline=None, max_examples=500)
@given(st.sampled_from([*USUAL, *UNUSUAL.values()]), st.integers(0, 2**32 - 1))
def test_whatever_the_header_the_result_is_pillows(data: bytes, seed: int) -> None:
    damaged = edited(data, seed)
    # Before version 13 Pillow refuses a list of further pictures that is cut.
    assume(b"MPF\0" not in damaged or int(PIL.__version__.split(".")[0]) >= 13)
    header = read_usual_header(damaged)
    if header and header.width * header.height <= (Image.MAX_IMAGE_PIXELS or 0):
        assert header[:3] == read_by_pillow(damaged)
    same_as_pillow_alone(damaged)


@pytest.fixture
def no_pillow(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise AssertionError("Pillow was asked")

    decode_image(JPEG)  # the decoders are compared once, before the first of them
    monkeypatch.setattr(decode, "decode_by_pillow", fail)


@pytest.mark.usefixtures("no_pillow")
def test_a_usual_jpeg_takes_no_pillow() -> None:
    for data in USUAL:
        decode_image(data)


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_too_many_pixels_are_refused_as_by_pillow() -> None:
    with pixel_limit(24 * 16 - 1), pytest.raises(ImageError, match="24 × 16 pixels are more than"):
        decode_image(JPEG)
    with pixel_limit(24 * 16):
        decode_image(JPEG)


def test_the_limit_of_a_run_stays_when_another_that_overlaps_it_ends() -> None:
    before = Image.MAX_IMAGE_PIXELS
    others = [pixel_limit(each) for each in (None, 24 * 16)]
    with ExitStack() as first, ExitStack() as last:
        for other in others:
            first.enter_context(other)
        last.enter_context(pixel_limit(24 * 16))
        first.close()
        assert Image.MAX_IMAGE_PIXELS == 24 * 16
    assert before == Image.MAX_IMAGE_PIXELS


def test_scaled_decoding_gives_the_pixels_of_pillow() -> None:
    for side in (4, 8, 9):
        transform = InputTransform(resize=side, crop=side, decoder=DECODERS["fast"])
        same_as_pillow_alone(JPEG, transform)
        assert decode_image(JPEG, transform).shape == ((8, 12, 3) if side == 4 else (16, 24, 3))


def test_scans_behind_a_single_one_are_refused_by_number() -> None:
    first = JPEG.index(b"\xff\xda")
    many = JPEG[:-2] + JPEG[first:-2] * 100 + JPEG[-2:]
    assert has_many_scans(many)
    assert not has_many_scans(JPEG + JPEG[first:-2] * 200)
    same_as_pillow_alone(many)
    with pytest.raises(ImageError, match="more than 100 scans"):
        decode_image(many)
