import base64
import io
import random
import struct
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import simplejpeg
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from bottleneck.data.decoding import decode
from bottleneck.data.decoding.decode import decode_image
from bottleneck.errors import ImageError
from tests.helpers.image_files import (
    FILES,
    RARE,
    READS_PAST_DAMAGE,
    RGB,
    Pixels,
    decoded,
    encode,
    exif_of,
    mutated,
    noise,
)

PILLOW_REFUSES = (
    OSError,
    SyntaxError,
    ValueError,
    LookupError,
    TypeError,
    struct.error,
    Image.DecompressionBombError,
    Image.DecompressionBombWarning,
)


def by_pillow(data: bytes) -> Pixels | None:
    """The pixels by Pillow alone; None where it refuses."""
    try:
        with Image.open(io.BytesIO(data), formats=["JPEG"]) as image:
            image.load()
            return np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
    except PILLOW_REFUSES:
        return None


def same_as_pillow(data: bytes) -> bool:
    """Hold what is decoded against Pillow alone; whether there are pixels."""
    expected = by_pillow(data)
    if expected is None:
        with pytest.raises(ImageError, match="cannot be decoded"):
            decode_image(data)
        return False
    np.testing.assert_array_equal(decoded(data), expected)
    return True


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """What simplejpeg is asked to decode, while a test lasts."""
    asked: list[bytes] = []
    original = simplejpeg.decode_jpeg

    def watched(data: bytes, **options: int) -> Pixels:
        asked.append(data)
        return np.asarray(original(data, **options))

    decode_image(FILES["jpeg"])  # the decoders are compared once, before the first of them
    monkeypatch.setattr(simplejpeg, "decode_jpeg", watched)
    return asked


@settings(deadline=None, max_examples=300)
@given(
    height=st.integers(1, 70),
    width=st.integers(1, 70),
    grey=st.booleans(),
    smooth=st.booleans(),
    options=st.fixed_dictionaries(
        {
            "quality": st.sampled_from([1, 30, 75, 90, 100]),
            "subsampling": st.sampled_from(["4:4:4", "4:2:2", "4:2:0", "keep RGB"]),
            "progressive": st.booleans(),
            "optimize": st.booleans(),
            "restart_marker_blocks": st.sampled_from([0, 1, 7]),
            "exif": st.sampled_from([exif_of(orientation) for orientation in range(1, 9)]),
            "comment": st.sampled_from([b"", b"\xff\xd9\xff\xc9"]),
        }
    ),
)
def test_any_usual_jpeg_gives_pillows_pixels(
    height: int, width: int, grey: bool, smooth: bool, options: dict[str, Any]
) -> None:
    image = Image.fromarray(noise(height, width, 3))
    if smooth:
        image = image.resize((width, height), Image.Resampling.BICUBIC, box=(0, 0, 1, 1))
    if options["subsampling"] == "keep RGB":
        options = {**options, "subsampling": "4:4:4", "keep_rgb": True}
    assert same_as_pillow(encode(image.convert("L") if grey else image, "JPEG", **options))


@pytest.mark.parametrize("name", RARE)
def test_a_rare_jpeg_gives_pillows_pixels(name: str) -> None:
    data = base64.b64decode(RARE[name])
    assert same_as_pillow(data)
    for end in range(2, len(data)):
        same_as_pillow(data[:end])
        same_as_pillow(data[:end] + b"\xff\xd9")


USUAL = ["jpeg", "jpeg-progressive", "jpeg-grey"]


@pytest.mark.parametrize("name", USUAL)
def test_a_usual_jpeg_is_decoded_by_simplejpeg(name: str, asked: list[bytes]) -> None:
    assert same_as_pillow(FILES[name])
    assert asked == [FILES[name]]


@pytest.mark.parametrize("name", ["jpeg-cmyk", "mpo"])
def test_a_jpeg_with_inks_or_more_pictures_is_pillows(name: str, asked: list[bytes]) -> None:
    decode_image(FILES[name])
    assert not asked


def test_arithmetic_coding_is_pillows_to_refuse(asked: list[bytes]) -> None:
    # Pillow cannot go on where a piece of 64 KiB ends within arithmetic coding; libjpeg-turbo can.
    data = base64.b64decode(RARE["arithmetic"])
    length = 65536 - len(data) + 20  # so that 20 bytes lie beyond, all of them coefficients
    comment = b"\xff\xfe" + struct.pack(">H", length - 2) + b"\0" * (length - 4)
    assert same_as_pillow(data)
    assert not same_as_pillow(data[:2] + comment + data[2:])
    assert not asked


def test_twelve_bits_are_refused() -> None:
    data = bytearray(FILES["jpeg"])
    data[data.index(b"\xff\xc0") + 4] = 12
    assert not same_as_pillow(bytes(data))


@pytest.mark.parametrize("name", USUAL)
def test_a_jpeg_cut_anywhere_is_what_pillow_makes_of_it(name: str) -> None:
    data = FILES[name]
    for end in range(1, len(data)):
        given_pixels = same_as_pillow(data[:end])
        assert not given_pixels or end > len(data) - 10, end
    for end in range(1, len(data), 3):
        same_as_pillow(data[:end] + b"\xff\xd9")


@pytest.mark.parametrize("name", USUAL)
@pytest.mark.parametrize("junk", [b"\0", b"\xff", b"\xff\xd9", b"junk" * 100, b"\xff\xd8\xff\xe0"])
def test_bytes_after_a_jpeg_are_ignored(name: str, junk: bytes) -> None:
    assert same_as_pillow(FILES[name] + junk)
    np.testing.assert_array_equal(decoded(FILES[name] + junk), decoded(FILES[name]))


LARGE = Image.fromarray(noise(170, 230, 3, seed=3))
TO_DAMAGE = [
    *(FILES[name] for name in USUAL),
    encode(RGB, "JPEG", restart_marker_blocks=1),
    encode(RGB, "JPEG", subsampling="4:4:4", keep_rgb=True, progressive=True),
    encode(LARGE, "JPEG", quality=98),  # more than the 64 KiB that Pillow reads at a time
    encode(LARGE, "JPEG", quality=98, progressive=True, restart_marker_rows=1),
]


@READS_PAST_DAMAGE
@pytest.mark.usefixtures("few_pixels")
@settings(deadline=None, max_examples=5 * settings().max_examples)
@given(st.sampled_from(TO_DAMAGE), st.integers(0, 2**32 - 1), st.integers(1, 4))
def test_a_damaged_jpeg_is_what_pillow_makes_of_it(data: bytes, seed: int, edits: int) -> None:
    damaged = mutated(data, seed, edits)
    if identified(damaged):
        same_as_pillow(damaged)


def identified(data: bytes) -> bool:
    """Whether Pillow sees one picture in grey or colour that is no larger than it allows."""
    try:
        with Image.open(io.BytesIO(data), formats=["JPEG"]) as image:
            few = image.width * image.height <= (Image.MAX_IMAGE_PIXELS or 0)
            return few and image.format == "JPEG" and image.mode in ("RGB", "L")
    except PILLOW_REFUSES:
        return False


@READS_PAST_DAMAGE
@pytest.mark.parametrize("data", TO_DAMAGE, ids=range(len(TO_DAMAGE)))
def test_damage_among_the_pixels_is_what_pillow_makes_of_it(data: bytes) -> None:
    draw = random.Random(0)
    for _ in range(100):
        damaged = bytearray(data)
        place = draw.randrange(len(data) // 2, len(data) - 2)
        damaged[place : place + 2] = draw.choice(
            [b"\xff\xd9", b"\xff\xd0", b"\xff\0", b"\xff\xfe", b"", draw.randbytes(2)]
        )
        same_as_pillow(bytes(damaged))


@pytest.fixture
def compared_anew() -> Iterator[None]:
    decode._decoders_agree.cache_clear()
    yield
    decode._decoders_agree.cache_clear()


@pytest.mark.usefixtures("compared_anew")
@pytest.mark.parametrize("scaled", [False, True])
def test_a_decoder_that_rounds_otherwise_is_not_used(
    scaled: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = simplejpeg.decode_jpeg

    def off_by_one(data: bytes, **options: int) -> Pixels:
        pixels = np.asarray(original(data, **options))
        full = pixels.shape == original(data).shape
        return pixels if full == scaled else pixels ^ np.uint8(1)

    monkeypatch.setattr(simplejpeg, "decode_jpeg", off_by_one)
    assert same_as_pillow(FILES["jpeg"])
    (note,) = decode.decoding_notes()
    assert note.startswith("JPEGs are decoded by Pillow, more slowly")


@pytest.mark.usefixtures("compared_anew")
def test_a_limit_below_the_probes_size_is_no_reason_to_reject_nor_to_decode_by_pillow(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tiny, larger = (encode(Image.fromarray(noise(side, side, 3)), "JPEG") for side in (8, 16))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    assert same_as_pillow(tiny)
    assert decode.decoding_notes() == ()
    with pytest.raises(ImageError, match="256 pixels are more than 100"):
        decode_image(larger)


def test_a_jpeg_of_very_many_scans_is_refused_and_a_usual_one_is_not() -> None:
    file = io.BytesIO()
    RGB.save(file, "JPEG", progressive=True)
    usual = file.getvalue()
    assert 5 < usual.count(b"\xff\xda") < 20
    decode_image(usual)
    last = usual.rindex(b"\xff\xda")
    slow = usual[:last] + usual[last:-2] * 200 + usual[-2:]
    with pytest.raises(ImageError, match="more than 100 scans"):
        decode_image(slow)


def test_bytes_after_a_jpeg_are_not_counted_as_scans() -> None:
    film = np.random.default_rng(0).bytes(12 << 20)  # as phones put behind a still picture
    assert film.count(b"\xff\xda") > 100
    for kind in ("jpeg", "jpeg-progressive"):
        np.testing.assert_array_equal(decode_image(FILES[kind] + film), decode_image(FILES[kind]))
