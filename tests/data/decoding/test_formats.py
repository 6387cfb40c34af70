import io
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from PIL import Image

from bottleneck.data.decoding import formats
from bottleneck.data.decoding.decode import decode_image
from bottleneck.data.decoding.formats import (
    OptionalFormat,
    explain_unidentified,
    image_suffixes,
    optional_formats,
    readers,
)
from bottleneck.data.images import open_images
from bottleneck.errors import ImageError
from tests.helpers.image_files import HEIGHT, WIDTH, encode, exif_of, gradient

AVAILABLE = {found.name: found for found in optional_formats() if found.available}
PILLOW_NAMES = {"AVIF": "AVIF", "JPEG 2000": "JPEG2000", "HEIC": "HEIF"}


def box(brand: bytes, *compatible: bytes) -> bytes:
    """The first box of an ISO media file."""
    body = b"ftyp" + brand + bytes(4) + b"".join(compatible)
    return (4 + len(body)).to_bytes(4, "big") + body


@pytest.fixture
def nothing_optional(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if this installation read none of the optional formats."""
    known = tuple(
        OptionalFormat(found.name, found.reader, found.suffixes, False, found.needs)
        for found in optional_formats()
    )
    monkeypatch.setattr(formats, "optional_formats", lambda: known)


@pytest.mark.parametrize("name", AVAILABLE)
def test_an_optional_format_gives_nearly_the_pixels_that_were_written(name: str) -> None:
    readers()
    data = encode(Image.fromarray(gradient()), PILLOW_NAMES[name], quality=100)
    assert np.abs(decode_image(data).astype(int) - gradient()).max() <= 12


def test_lossless_jpeg_2000_gives_the_pixels_that_were_written() -> None:
    if "JPEG 2000" not in AVAILABLE:
        pytest.skip("this Pillow has no OpenJPEG")
    for options in ({}, {"no_jp2": True}):
        data = encode(Image.fromarray(gradient()), "JPEG2000", **options)
        np.testing.assert_array_equal(decode_image(data), gradient())


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
@pytest.mark.parametrize("name", ["AVIF", "HEIC"])
def test_a_turned_image_comes_back_upright_once(name: str, orientation: int) -> None:
    if name not in AVAILABLE:
        pytest.skip(f"this installation reads no {name}")
    readers()
    turns = {1: 0, 3: 2, 6: 1, 8: 3}  # quarter turns against the clock
    stored = np.ascontiguousarray(np.rot90(gradient(), turns[orientation]))
    kind = PILLOW_NAMES[name]
    data = encode(Image.fromarray(stored), kind, quality=100, exif=exif_of(orientation).tobytes())
    pixels = decode_image(data)
    assert pixels.shape == (HEIGHT, WIDTH, 3)
    assert np.abs(pixels.astype(int) - gradient()).max() <= 12


@pytest.mark.parametrize("name", AVAILABLE)
def test_damage_to_an_optional_format_is_an_error_of_one_line(name: str) -> None:
    readers()
    data = encode(Image.fromarray(gradient()), PILLOW_NAMES[name])
    for end in range(0, len(data), max(1, len(data) // 40)):
        try:
            decode_image(data[:end])
        except ImageError as error:
            assert "\n" not in str(error)


def test_a_folder_is_searched_for_what_can_be_read(tmp_path: Path) -> None:
    (tmp_path / "ants").mkdir()
    suffixes = [suffix for found in optional_formats() for suffix in found.suffixes]
    for suffix in (".jpg", ".txt", *suffixes):
        (tmp_path / "ants" / f"1{suffix}").touch()
    expected = [suffix for found in AVAILABLE.values() for suffix in found.suffixes]
    found = {Path(path).suffix for path in open_images(tmp_path).table.path}
    assert found == {".jpg", *expected}


def test_suffixes_are_those_of_the_formats_that_are_available(nothing_optional: None) -> None:
    image_suffixes.cache_clear()
    try:
        assert not {".avif", ".jp2", ".heic"} & image_suffixes()
        assert {".jpg", ".png", ".tiff", ".pgm"} <= image_suffixes()
    finally:
        image_suffixes.cache_clear()


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (box(b"heic"), "HEIC needs pillow-heif"),
        (box(b"mif1", b"mif1", b"heic"), "HEIC needs pillow-heif"),
        (box(b"mif1", b"mif1", b"avif"), r"AVIF needs Pillow 11\.3"),
        (box(b"avif"), r"AVIF needs Pillow 11\.3"),
        (b"\xff\x4f\xff\x51" + bytes(40), "JPEG 2000 needs"),
        (b"\0\0\0\x0cjP  \r\n\x87\n" + bytes(40), "JPEG 2000 needs"),
    ],
    ids=range(6),
)
def test_the_missing_library_of_a_format_is_named(
    data: bytes, words: str, nothing_optional: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bottleneck.data.decoding.pillow_decoder._READERS", ("JPEG", "PNG"))
    with pytest.raises(ImageError, match=words):
        decode_image(data)


def test_a_damaged_file_of_an_available_format_is_called_that() -> None:
    if "HEIC" not in AVAILABLE:
        pytest.skip("this installation reads no HEIC")
    with pytest.raises(ImageError, match="cannot be decoded: the HEIC is damaged"):
        decode_image(box(b"heic") + bytes(200))


def test_nothing_is_lacking_for_other_files(nothing_optional: None) -> None:
    for data in (b"", b"\x89PNG\r\n\x1a\n", box(b"mp42"), b"no image"):
        assert explain_unidentified(data) == ""


def test_heic_is_registered_where_its_package_is(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    package = ModuleType("pillow_heif")
    package.register_heif_opener = lambda **_: calls.append("registered")  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "pillow_heif", package)
    known = (OptionalFormat("HEIC", "HEIF", (".heic",), True, ""),)
    monkeypatch.setattr(formats, "optional_formats", lambda: known)
    readers.cache_clear()
    try:
        assert "HEIF" in readers()
        assert calls == ["registered"]
    finally:
        readers.cache_clear()


def test_opened_by_pillow_the_readers_are_enough() -> None:
    data = encode(Image.fromarray(gradient()), "PNG")
    with Image.open(io.BytesIO(data), formats=readers()) as image:
        assert image.format == "PNG"
