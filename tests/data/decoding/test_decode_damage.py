import struct
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from bottleneck.data.decoding.decode import decode_image
from bottleneck.errors import ImageError
from tests.helpers.image_files import (
    BOMBS,
    FILES,
    READS_PAST_DAMAGE,
    encode,
    image_or_error,
    mutated,
    noise,
    right_or_rejected,
)


@pytest.mark.parametrize(
    "data", [b"\0", b"\n" * 1000, b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"P6"]
)
def test_bytes_that_are_no_image_are_rejected(data: bytes) -> None:
    with pytest.raises(ImageError):
        decode_image(data)


def test_an_empty_file_is_named_as_such() -> None:
    with pytest.raises(ImageError, match="empty"):
        decode_image(b"")


def test_text_is_rejected() -> None:
    with pytest.raises(ImageError, match="not an image of a known format"):
        decode_image(b"these are no pixels\n" * 100)


PHOTOGRAPH = Image.fromarray(noise(90, 120, 3, seed=2))


@READS_PAST_DAMAGE
@pytest.mark.parametrize("tenths", range(1, 10))
@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"optimize": True}], ids=str)
def test_a_jpeg_that_was_cut_short_is_rejected(options: dict[str, bool], tenths: int) -> None:
    data = encode(PHOTOGRAPH, "JPEG", **options)
    assert right_or_rejected(data[: len(data) * tenths // 10], data)


def test_a_jpeg_that_lacks_its_last_bytes_is_right_or_rejected() -> None:
    data = encode(PHOTOGRAPH, "JPEG")
    for missing in range(1, len(data) // 10, 7):
        right_or_rejected(data[:-missing], data)


@pytest.mark.parametrize("tenths", range(1, 10))
def test_a_png_that_was_cut_short_is_rejected(tenths: int) -> None:
    data = encode(PHOTOGRAPH, "PNG")
    assert right_or_rejected(data[: len(data) * tenths // 10], data)


def test_a_png_that_lacks_its_last_bytes_is_right_or_rejected() -> None:
    data = encode(PHOTOGRAPH, "PNG")
    assert not right_or_rejected(data[:-1], data)  # every pixel is there
    for missing in range(2, 200):
        right_or_rejected(data[:-missing], data)


@READS_PAST_DAMAGE
@pytest.mark.parametrize("name", FILES)
def test_a_file_cut_anywhere_gives_the_right_pixels_or_none(name: str) -> None:
    data = FILES[name]
    for twentieths in range(1, 20):
        right_or_rejected(data[: len(data) * twentieths // 20], data)


@READS_PAST_DAMAGE
@pytest.mark.parametrize("name", FILES)
def test_the_first_quarter_of_a_file_is_rejected(name: str) -> None:
    with pytest.raises(ImageError):
        decode_image(FILES[name][: len(FILES[name]) // 4])


def test_a_flipped_bit_among_a_pngs_pixels_is_rejected() -> None:
    data = bytearray(FILES["png"])
    data[len(data) // 2] ^= 4
    with pytest.raises(ImageError):
        decode_image(bytes(data))


@pytest.mark.parametrize("name", BOMBS)
def test_a_decompression_bomb_is_rejected_unopened(name: str) -> None:
    with pytest.raises(ImageError, match="pixels are more than 89478485: `max_pixels="):
        decode_image(BOMBS[name])


# Whatever comes


@READS_PAST_DAMAGE
@pytest.mark.usefixtures("few_pixels")
@settings(deadline=None, max_examples=6 * settings().max_examples)
@given(st.sampled_from(sorted(FILES)), st.integers(0, 2**32 - 1), st.integers(1, 6))
def test_a_damaged_file_gives_an_image_or_an_image_error(name: str, seed: int, edits: int) -> None:
    image_or_error(mutated(FILES[name], seed, edits))


MAGICS = [b"", *(data[:12] for data in FILES.values())]


@READS_PAST_DAMAGE
@pytest.mark.usefixtures("few_pixels")
@settings(deadline=None, max_examples=3 * settings().max_examples)
@given(st.sampled_from(MAGICS), st.binary(max_size=400))
def test_random_bytes_give_an_image_or_an_image_error(magic: bytes, data: bytes) -> None:
    image_or_error(magic + data)


@pytest.mark.parametrize(
    "error",
    [
        OSError("a\nb"),
        SyntaxError("a"),
        ValueError("a"),
        TypeError("a"),
        IndexError("a"),
        KeyError("a"),
        AttributeError("a"),
        ZeroDivisionError("a"),
        OverflowError("a"),
        EOFError(),
        MemoryError(),
        NotImplementedError("a"),
        struct.error("a"),
        zlib.error("a"),
        Image.DecompressionBombError("a"),
        Image.DecompressionBombWarning("a"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_whatever_a_reader_raises_is_an_image_error_of_one_line(
    monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(Image, "open", fail)
    with pytest.raises(ImageError) as caught:
        decode_image(b"x")
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) > len("cannot be decoded: ")  # an error without words has a name
