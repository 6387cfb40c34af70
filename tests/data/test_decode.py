import base64
import errno
import hashlib
import io
import json
import os
import random
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image, ImageOps
from torch import Tensor, nn
from torchvision.transforms import InterpolationMode, v2
from torchvision.transforms import functional as F  # noqa: N812  (the name it has everywhere)

from bottleneck.backbones.backbone import Backbone
from bottleneck.data import decode
from bottleneck.data.decode import decode_image, resize_and_crop
from bottleneck.data.reading import read_image_bytes
from bottleneck.data.sources.files import FileSource
from bottleneck.errors import ImageError
from bottleneck.extraction.encoder import Encoder, make_spec
from bottleneck.spec import INTERPOLATIONS, InputTransform, ModelReference
from tests.helpers.fixture_types import Extract
from tests.helpers.shards import missing_shards

Pixels = NDArray[np.uint8]

WIDTH, HEIGHT = 24, 16

# Pillow speaks of damage that it reads past; the tests below do that damage on purpose.
READS_PAST_DAMAGE = pytest.mark.filterwarnings(r"ignore::UserWarning:PIL\..*")


def encode(image: Image.Image, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.copy().save(file, kind, **options)  # saving leaves traces in an image
    return file.getvalue()


def encode_two(image: Image.Image, other: Image.Image, kind: str, **options: Any) -> bytes:
    """Two frames or pages."""
    return encode(image, kind, save_all=True, append_images=[other.copy()], **options)


def decoded(data: bytes) -> Pixels:
    pixels = decode_image(data)
    assert pixels.dtype == np.uint8
    assert pixels.shape[2:] == (3,)
    assert pixels.flags.c_contiguous
    assert pixels.flags.writeable  # torch warns of what is not
    return pixels


def noise(*shape: int, seed: int = 0, top: int = 256, dtype: str = "uint8") -> NDArray[Any]:
    return np.random.default_rng(seed).integers(0, top, shape).astype(dtype)


def gradient() -> Pixels:
    """Smooth, so that JPEG keeps it, and with no symmetry, so that no turn leaves it as it is."""
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH]
    return np.stack([x * 10, y * 15, (x + y) * 3 + 60], axis=-1).astype(np.uint8)


def repeated(grey: NDArray[Any]) -> Pixels:
    return np.repeat(grey.astype(np.uint8)[..., None], 3, axis=-1)


def over_white(colour: NDArray[Any], alpha: NDArray[Any]) -> NDArray[Any]:
    """The definition of compositing, in floating point."""
    opacity = alpha[..., None] / 255
    return np.asarray(colour * opacity + 255 * (1 - opacity))


def few_colours(seed: int = 0) -> tuple[NDArray[Any], Pixels]:
    """Indices, shape (HEIGHT, WIDTH), and a palette of 16 colours."""
    return noise(HEIGHT, WIDTH, seed=seed, top=16), noise(16, 3, seed=seed + 1)


def palette_image(index: NDArray[Any], palette: Pixels) -> Image.Image:
    image = Image.fromarray(index.astype(np.uint8)).copy()
    image.putpalette(palette.tobytes())
    return image


def chunk(kind: bytes, body: bytes) -> bytes:
    crc = zlib.crc32(kind + body)
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", crc)


def png(
    size: tuple[int, int],
    *,
    depth: int,
    colour: int,
    rows: list[bytes],
    before: bytes = b"",
    after: bytes = b"",
) -> bytes:
    """A PNG by its specification, for what Pillow does not write."""
    header = struct.pack(">IIBBBBB", *size, depth, colour, 0, 0, 0)
    body = zlib.compress(b"".join(b"\0" + row for row in rows))
    chunks = [chunk(b"IHDR", header), before, chunk(b"IDAT", body), after, chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


RGB = Image.fromarray(noise(HEIGHT, WIDTH, 3))
OTHER = Image.fromarray(noise(HEIGHT, WIDTH, 3, seed=1))

# Every format, in the ways in which it is commonly written.
FILES: dict[str, bytes] = {
    "jpeg": encode(RGB, "JPEG"),
    "jpeg-progressive": encode(RGB, "JPEG", progressive=True),
    "jpeg-grey": encode(RGB.convert("L"), "JPEG"),
    "jpeg-cmyk": encode(RGB.convert("CMYK"), "JPEG"),
    "mpo": encode_two(RGB, OTHER, "MPO"),
    "png": encode(RGB, "PNG"),
    "png-alpha": encode(RGB.convert("RGBA"), "PNG"),
    "png-palette": encode(palette_image(*few_colours()), "PNG", transparency=3),
    "png-animated": encode_two(RGB, OTHER, "PNG"),
    "webp": encode(RGB, "WEBP"),
    "webp-lossless": encode(RGB, "WEBP", lossless=True),
    "webp-animated": encode_two(RGB, OTHER, "WEBP", lossless=True),
    "gif": encode(RGB, "GIF"),
    "gif-animated": encode_two(RGB, OTHER, "GIF"),
    "bmp": encode(RGB, "BMP"),
    "bmp-palette": encode(palette_image(*few_colours()), "BMP"),
    "dib": encode(RGB, "DIB"),
    "ppm": encode(RGB, "PPM"),
    "pgm": encode(RGB.convert("L"), "PPM"),
    "pbm": encode(RGB.convert("1"), "PPM"),
    "tiff": encode(RGB, "TIFF"),
    "tiff-lzw": encode(RGB, "TIFF", compression="tiff_lzw"),
    "tiff-deflate": encode(RGB, "TIFF", compression="tiff_adobe_deflate"),
    "tiff-packbits": encode(RGB, "TIFF", compression="packbits"),
    "tiff-jpeg": encode(RGB, "TIFF", compression="jpeg"),
    "tiff-fax": encode(RGB.convert("1"), "TIFF", compression="group4"),
    "tiff-pages": encode_two(RGB, OTHER, "TIFF"),
}


# Formats

LOSSLESS = [
    "png",
    "png-animated",
    "webp-lossless",
    "webp-animated",
    "bmp",
    "dib",
    "ppm",
    "tiff",
    "tiff-lzw",
    "tiff-deflate",
    "tiff-packbits",
    "tiff-pages",
]


@pytest.mark.parametrize("name", LOSSLESS)
def test_a_lossless_format_gives_the_pixels_that_were_written(name: str) -> None:
    np.testing.assert_array_equal(decoded(FILES[name]), np.asarray(RGB))


@pytest.mark.parametrize("kind", ["GIF", "PNG", "BMP", "TIFF"])
def test_a_palette_is_looked_up(kind: str) -> None:
    index, palette = few_colours()
    data = encode(palette_image(index, palette), kind)
    np.testing.assert_array_equal(decoded(data), palette[index])


@pytest.mark.parametrize("kind", ["JPEG", "WEBP"])
def test_a_lossy_format_gives_nearly_the_pixels_that_were_written(kind: str) -> None:
    data = encode(Image.fromarray(gradient()), kind, quality=95)
    assert np.abs(decoded(data).astype(int) - gradient()).max() <= 12


@pytest.mark.parametrize("name", [name for name in FILES if "alpha" not in name])
def test_any_format_gives_what_pillow_gives(name: str) -> None:
    with Image.open(io.BytesIO(FILES[name])) as image:
        image.load()
        transparent = "transparency" in image.info
        expected = np.asarray(image.convert("RGB"))
    if transparent:
        index = np.asarray(image)
        expected = np.where((index == image.info["transparency"])[..., None], 255, expected)
    np.testing.assert_array_equal(decoded(FILES[name]), expected)


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF", "GIF", "MPO"])
def test_the_first_frame_counts(kind: str) -> None:
    colours = ["red", "lime", "blue"]
    frames = [Image.new("RGB", (16, 16), colour) for colour in colours]
    options = {"lossless": True} if kind == "WEBP" else {}
    data = encode(frames[0], kind, save_all=True, append_images=frames[1:], **options)
    with Image.open(io.BytesIO(data)) as image:
        assert getattr(image, "n_frames", 1) == 3
    assert np.abs(decoded(data).astype(int) - (255, 0, 0)).max() <= 3


@pytest.mark.parametrize("kind", ["ICO", "TGA", "PCX", "SGI", "EPS", "JPEG2000"])
def test_formats_that_were_not_promised_are_refused(kind: str) -> None:
    with pytest.raises(ImageError, match="not an image of a known format"):
        decode_image(encode(RGB, kind))


# EXIF orientation


def stored(upright: Pixels, orientation: int) -> Pixels:
    """What a camera stores, for a scene that is upright: EXIF 2.3's table, backwards."""
    # Tag 0x0112 says which side of the scene the stored row 0 and column 0 are.
    turns: dict[int, Callable[[Pixels], Pixels]] = {
        1: lambda scene: scene,  # top, left
        2: lambda scene: scene[:, ::-1],  # top, right
        3: lambda scene: scene[::-1, ::-1],  # bottom, right
        4: lambda scene: scene[::-1],  # bottom, left
        5: lambda scene: scene.transpose(1, 0, 2),  # left, top
        6: lambda scene: scene[:, ::-1].transpose(1, 0, 2),  # right, top
        7: lambda scene: scene[::-1, ::-1].transpose(1, 0, 2),  # right, bottom
        8: lambda scene: scene[::-1].transpose(1, 0, 2),  # left, bottom
    }
    return np.ascontiguousarray(turns[orientation](upright))


def exif_of(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP"])
def test_a_turned_image_comes_back_upright(kind: str, orientation: int) -> None:
    image = Image.fromarray(stored(gradient(), orientation))
    options = {"lossless": True} if kind == "WEBP" else {}
    data = encode(image, kind, exif=exif_of(orientation), **options)
    np.testing.assert_array_equal(decoded(data), gradient())


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_turned_jpeg_comes_back_upright(orientation: int) -> None:
    image = Image.fromarray(stored(gradient(), orientation))
    data = encode(image, "JPEG", quality=95, exif=exif_of(orientation))
    assert np.abs(decoded(data).astype(int) - gradient()).max() <= 12


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP"])
def test_turning_is_what_pillow_does(kind: str, orientation: int) -> None:
    data = encode(RGB, kind, exif=exif_of(orientation))
    with Image.open(io.BytesIO(data)) as image:
        expected = np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
    np.testing.assert_array_equal(decoded(data), expected)


@pytest.mark.parametrize("compression", ["tiff_lzw", "tiff_adobe_deflate", "packbits"])
def test_a_turned_compressed_tiff_is_turned_once(compression: str) -> None:
    image = Image.fromarray(stored(gradient(), 6))
    data = encode(image, "TIFF", tiffinfo={0x0112: 6}, compression=compression)
    np.testing.assert_array_equal(decoded(data), gradient())


def test_an_orientation_behind_a_pngs_pixels_counts() -> None:
    exif = exif_of(6).tobytes().removeprefix(b"Exif\0\0")
    rows = [bytes([5, 9])]
    data = png((2, 1), depth=8, colour=0, rows=rows, after=chunk(b"eXIf", exif))
    np.testing.assert_array_equal(decoded(data), repeated(np.array([[5], [9]])))


def test_a_turned_palette_with_transparency_is_turned_and_laid_over_white() -> None:
    image = palette_image(np.array([[0, 1, 2]]), np.array([[9] * 3, [50] * 3, [99] * 3], "uint8"))
    data = encode(image, "PNG", transparency=1, exif=exif_of(6))
    np.testing.assert_array_equal(decoded(data), repeated(np.array([[9], [255], [99]])))


TAG_ENTRY = struct.pack("<HHII", 0x0112, 3, 1, 6)  # orientation, SHORT, one of them, 6

BROKEN_EXIF = {
    "nothing": b"",
    "no header": b"junk",
    "cut in its table": b"II*\0\x08\0\0\0\x05\0" + TAG_ENTRY[:5],
    "table out of reach": b"II*\0\xff\xff\xff\x00",
    "noise": b"MM\0*\0\0\0\x08" + bytes(range(200, 256)) * 3,
    "value out of reach": b"II*\0\x08\0\0\0\x01\0" + struct.pack("<HHII", 0x0112, 3, 65535, 2**31),
    "a text": b"II*\0\x08\0\0\0\x01\0" + struct.pack("<HHI4sI", 0x0112, 2, 2, b"6\0\0\0", 0),
}


@READS_PAST_DAMAGE
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("broken", BROKEN_EXIF)
def test_broken_exif_counts_as_upright(kind: str, broken: str) -> None:
    data = encode(RGB, kind, exif=b"Exif\0\0" + BROKEN_EXIF[broken])
    np.testing.assert_array_equal(decoded(data), decoded(encode(RGB, kind)))


@pytest.mark.parametrize("orientation", [0, 9, 255, 65535])
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF"])
def test_an_orientation_that_does_not_exist_counts_as_upright(kind: str, orientation: int) -> None:
    data = encode(RGB, kind, exif=exif_of(orientation))
    np.testing.assert_array_equal(decoded(data), decoded(encode(RGB, kind)))


# Grey and colour


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "BMP", "PPM"])
def test_grey_is_repeated(kind: str) -> None:
    grey = noise(HEIGHT, WIDTH)
    np.testing.assert_array_equal(decoded(encode(Image.fromarray(grey), kind)), repeated(grey))


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "BMP", "PPM"])
def test_one_bit_is_black_and_white(kind: str) -> None:
    bits = noise(HEIGHT, WIDTH, top=2) * 255
    image = Image.fromarray(bits).convert("1", dither=Image.Dither.NONE)
    np.testing.assert_array_equal(decoded(encode(image, kind)), repeated(bits))


@pytest.mark.parametrize(("depth", "row"), [(2, [0b00_01_10_11]), (4, [0x05, 0xAF])])
def test_shallow_grey_is_spread_over_the_whole_range(depth: int, row: list[int]) -> None:
    data = png((4, 1), depth=depth, colour=0, rows=[bytes(row)])
    np.testing.assert_array_equal(decoded(data), repeated(np.array([[0, 85, 170, 255]])))


@pytest.mark.parametrize("kind", ["JPEG", "TIFF"])
@pytest.mark.parametrize(
    ("inks", "rgb"),
    [
        ((0, 0, 0, 0), (255, 255, 255)),
        ((255, 0, 0, 0), (0, 255, 255)),
        ((0, 255, 0, 0), (255, 0, 255)),
        ((0, 0, 255, 0), (255, 255, 0)),
        ((0, 0, 0, 255), (0, 0, 0)),
        ((51, 102, 204, 128), (102, 76, 25)),  # (255 - ink) · (255 - black) / 255
    ],
)
def test_cmyk_is_converted(
    kind: str, inks: tuple[int, int, int, int], rgb: tuple[int, int, int]
) -> None:
    pixels = decoded(encode(Image.new("CMYK", (16, 16), inks), kind))
    assert np.abs(pixels.astype(int) - rgb).max() <= 3


def test_ycck_is_converted() -> None:
    # Adobe's JPEG holds the inks cyan, magenta and yellow as luminance and chrominance, and black
    # inverted. Pillow writes CMYK, all inverted; with its marker's last byte at 2 that is YCCK.
    inks, black = (0, 255, 255), 51
    y, cb, cr = np.asarray(Image.new("RGB", (1, 1), inks).convert("YCbCr"))[0, 0].tolist()
    stored_inks = Image.new("CMYK", (16, 16), (255 - y, 255 - cb, 255 - cr, black))
    data = bytearray(encode(stored_inks, "JPEG"))
    marker = data.index(b"Adobe")
    assert data[marker + 11] == 0
    data[marker + 11] = 2
    assert np.abs(decoded(bytes(data)).astype(int) - (204, 0, 0)).max() <= 3


def test_a_colour_profile_is_ignored() -> None:
    with_profile = encode(RGB, "PNG", icc_profile=b"no profile that could be applied")
    np.testing.assert_array_equal(decoded(with_profile), np.asarray(RGB))


# Transparency


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF"])
def test_transparency_is_laid_over_white(kind: str) -> None:
    colour, alpha = noise(HEIGHT, WIDTH, 3), noise(HEIGHT, WIDTH, seed=1)
    alpha[0], alpha[1] = 0, 255
    options = {"lossless": True, "exact": True} if kind == "WEBP" else {}
    image = Image.fromarray(np.dstack([colour, alpha]))
    pixels = decoded(encode(image, kind, **options))
    assert np.abs(pixels - over_white(colour, alpha)).max() <= 1
    assert (pixels[0] == 255).all()
    np.testing.assert_array_equal(pixels[1], colour[1])


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_grey_with_transparency_is_laid_over_white(kind: str) -> None:
    grey, alpha = noise(HEIGHT, WIDTH), noise(HEIGHT, WIDTH, seed=1)
    alpha[0], alpha[1] = 0, 255
    pixels = decoded(encode(Image.fromarray(np.dstack([grey, alpha])), kind))
    assert np.abs(pixels - over_white(repeated(grey), alpha)).max() <= 1
    assert (pixels[0] == 255).all()
    np.testing.assert_array_equal(pixels[1], repeated(grey)[1])


@pytest.mark.parametrize("kind", ["PNG", "GIF"])
def test_a_palettes_transparent_colour_is_white(kind: str) -> None:
    index, palette = few_colours()
    pixels = decoded(encode(palette_image(index, palette), kind, transparency=3))
    expected = palette[index]
    expected[index == 3] = 255
    np.testing.assert_array_equal(pixels, expected)


def test_a_palettes_half_transparent_colours_are_laid_over_white() -> None:
    index, palette = few_colours()
    alpha = np.arange(16) * 17
    data = encode(palette_image(index, palette), "PNG", transparency=bytes(alpha.tolist()))
    assert np.abs(decoded(data) - over_white(palette, alpha)[index]).max() <= 1


def test_the_one_transparent_grey_of_a_png_is_white() -> None:
    grey = np.array([[7, 8, 9, 7]])
    data = encode(Image.fromarray(grey.astype(np.uint8)), "PNG", transparency=7)
    np.testing.assert_array_equal(decoded(data), repeated(np.array([[255, 8, 9, 255]])))


def test_the_one_transparent_colour_of_a_png_is_white() -> None:
    colours = np.array([[[1, 2, 3], [3, 2, 1], [1, 2, 3], [1, 2, 4]]], dtype=np.uint8)
    data = encode(Image.fromarray(colours), "PNG", transparency=(1, 2, 3))
    expected = [[[255, 255, 255], [3, 2, 1], [255, 255, 255], [1, 2, 4]]]
    np.testing.assert_array_equal(decoded(data), expected)


def test_the_one_transparent_grey_of_a_deep_png_is_white() -> None:
    rows = [struct.pack(">3H", 0x1234, 0xABCD, 0x1235)]
    transparent = chunk(b"tRNS", struct.pack(">H", 0x1234))
    data = png((3, 1), depth=16, colour=0, rows=rows, before=transparent)
    np.testing.assert_array_equal(decoded(data), repeated(np.array([[255, 0xAB, 0x12]])))


# Deep pixels

DEEP = np.concatenate([noise(15, WIDTH, top=65536, dtype="uint16"), np.zeros((1, WIDTH), "uint16")])
DEEP[-1, :4] = 0, 255, 256, 65535


@pytest.mark.parametrize(
    ("kind", "order"), [("PNG", "<"), ("TIFF", "<"), ("TIFF", ">"), ("PPM", "<")]
)
def test_sixteen_bits_keep_the_high_byte(kind: str, order: str) -> None:
    data = encode(Image.fromarray(DEEP.astype(f"{order}u2")), kind)
    np.testing.assert_array_equal(decoded(data), repeated(DEEP >> 8))


@pytest.mark.parametrize(("colour", "channels"), [(2, 3), (4, 2), (6, 4)])
def test_sixteen_bits_of_colour_keep_the_high_byte(colour: int, channels: int) -> None:
    deep = noise(4, 5, channels, top=65536, dtype="uint16")
    if channels in (2, 4):
        deep[..., -1] = 65535
    rows = [row.astype(">u2").tobytes() for row in deep]
    high = (deep >> 8).astype(np.uint8)
    expected = repeated(high[..., 0]) if channels == 2 else high[..., :3]
    np.testing.assert_array_equal(
        decoded(png((5, 4), depth=16, colour=colour, rows=rows)), expected
    )


def test_thirty_two_bit_integers_within_sixteen_bits_keep_the_high_byte() -> None:
    data = encode(Image.fromarray(DEEP.astype(np.int32)), "TIFF")
    np.testing.assert_array_equal(decoded(data), repeated(DEEP >> 8))


@pytest.mark.parametrize("value", [-1, 65536, 2**31 - 1, -(2**31)])
def test_thirty_two_bit_integers_beyond_sixteen_bits_are_rejected(value: int) -> None:
    values = np.zeros((4, 4), dtype=np.int32)
    values[1, 2] = value
    with pytest.raises(ImageError, match="outside of 0…65535"):
        decode_image(encode(Image.fromarray(values), "TIFF"))


@pytest.mark.parametrize("kind", ["TIFF", "PPM"])
def test_floating_point_pixels_are_rejected(kind: str) -> None:
    values = np.linspace(0, 1, 16, dtype=np.float32).reshape(4, 4)
    with pytest.raises(ImageError, match="floating-point"):
        decode_image(encode(Image.fromarray(values), kind))


# Damage


@pytest.mark.parametrize(
    "data", [b"\0", b"\n" * 1000, b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"P6"]
)
def test_bytes_that_are_no_image_are_rejected(data: bytes) -> None:
    with pytest.raises(ImageError):
        decode_image(data)


def test_an_empty_file_is_named_as_such() -> None:
    with pytest.raises(ImageError, match="empty"):
        decode_image(b"")


def test_a_text_named_jpg_is_rejected(tmp_path: Path) -> None:
    (tmp_path / "notes.jpg").write_text("these are no pixels\n" * 100)
    with pytest.raises(ImageError, match="not an image of a known format"):
        decode_image(read_image_bytes(tmp_path / "notes.jpg"))


def right_or_rejected(cut: bytes, whole: bytes) -> bool:
    """Whether a cut file was rejected; if it was not, it must have given the right pixels."""
    try:
        pixels = decoded(cut)
    except ImageError:
        return True
    np.testing.assert_array_equal(pixels, decoded(whole))
    return False


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


BOMBS = {
    "png": png((50_000, 50_000), depth=8, colour=2, rows=[b"\0" * 100]),
    "ppm": b"P6 50000 50000 255\n" + b"\0" * 100,
    "gif": b"GIF89a\xff\xff\xff\xff\0\0\0,\0\0\0\0\xff\xff\xff\xff\0\x08" + b"\0" * 100,
    "bmp": b"BM"
    + struct.pack("<IIIIiiHHIIiiII", 154, 0, 54, 40, 50_000, 50_000, 1, 24, 0, 100, 0, 0, 0, 0)
    + b"\0" * 100,
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_decompression_bomb_is_rejected_unopened(name: str) -> None:
    with pytest.raises(ImageError, match="bomb"):
        decode_image(BOMBS[name])


# Two decoders of JPEG

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
    """What torchvision is asked to decode, while a test lasts."""
    asked: list[bytes] = []
    by_torchvision = decode._decode_by_torchvision

    def watched(data: bytes) -> Pixels | None:
        asked.append(data)
        return by_torchvision(data)

    decode_image(FILES["jpeg"])  # the decoders are compared once, before the first of them
    monkeypatch.setattr(decode, "_decode_by_torchvision", watched)
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


# Ways of coding that Pillow reads and does not write: 21 × 13 pixels by libjpeg-turbo itself.
RARE: dict[str, str] = {
    "4:1:1": (
        "/9j/2wBDABsSFBcUERsXFhceHBsgKEIrKCUlKFE6PTBCYFVlZF9VXVtqeJmBanGQc1tdhbWGkJ6jq62rZ4C8"
        "ybqmx5moq6T/2wBDARweHigjKE4rK06kbl1upKSkpKSkpKSkpKSkpKSkpKSkpKSkpKSkpKSkpKSkpKSkpKSk"
        "pKSkpKSkpKSkpKSkpKT/wAARCAANABUDAUEAAhEBAxEB/8QAFwAAAwEAAAAAAAAAAAAAAAAAAAMEBf/EABsQ"
        "AAICAwEAAAAAAAAAAAAAAAACAwQRIWEx/8QAFQEBAQAAAAAAAAAAAAAAAAAAAwT/xAAbEQABBAMAAAAAAAAA"
        "AAAAAAAAAQIEEgMRIv/aAAwDAQACEQMRAD8AyEr8KEr8HrX14AliqPk5GpEpQkSj1iXAAbIo7lqf/9k="
    ),
    "4:4:0": (
        "/9j/2wBDABsSFBcUERsXFhceHBsgKEIrKCUlKFE6PTBCYFVlZF9VXVtqeJmBanGQc1tdhbWGkJ6jq62rZ4C8"
        "ybqmx5moq6T/2wBDARweHigjKE4rK06kbl1upKSkpKSkpKSkpKSkpKSkpKSkpKSkpKSkpKSkpKSkpKSkpKSk"
        "pKSkpKSkpKSkpKSkpKT/wAARCAANABUDARIAAhEBAxEB/8QAFQABAQAAAAAAAAAAAAAAAAAABQT/xAAbEAAC"
        "AgMBAAAAAAAAAAAAAAAAAgMEESFhMf/EABYBAQEBAAAAAAAAAAAAAAAAAAQAAf/EABkRAAIDAQAAAAAAAAAA"
        "AAAAAAABAgMTEf/aAAwDAQACEQMRAD8AISvwUSJTdAsL2RpX4KJEpaC4XsiWvrwUWJcFoKje+H//2Q=="
    ),
    "4:1:0": (
        "/9j/2wBDABsSFBcUERsXFhceHBsgKEIrKCUlKFE6PTBCYFVlZF9VXVtqeJmBanGQc1tdhbWGkJ6jq62rZ4C8"
        "ybqmx5moq6T/2wBDARweHigjKE4rK06kbl1upKSkpKSkpKSkpKSkpKSkpKSkpKSkpKSkpKSkpKSkpKSkpKSk"
        "pKSkpKSkpKSkpKSkpKT/wAARCAANABUDAUIAAhEBAxEB/8QAFwAAAwEAAAAAAAAAAAAAAAAAAAMEBf/EABsQ"
        "AAICAwEAAAAAAAAAAAAAAAACAwQRIWEx/8QAFQEBAQAAAAAAAAAAAAAAAAAAAQP/xAAZEQABBQAAAAAAAAAA"
        "AAAAAAAAAQMEEhP/2gAMAwEAAhEDEQA/AMhK/ChK/B619eANSJShIlHrEuAHQpHfWp//2Q=="
    ),
    "luminance subsampled": (
        "/9j/2wBDABsSFBcUERsXFhceHBsgKEIrKCUlKFE6PTBCYFVlZF9VXVtqeJmBanGQc1tdhbWGkJ6jq62rZ4C8"
        "ybqmx5moq6T/2wBDARweHigjKE4rK06kbl1upKSkpKSkpKSkpKSkpKSkpKSkpKSkpKSkpKSkpKSkpKSkpKSk"
        "pKSkpKSkpKSkpKSkpKT/wAARCAANABUDARIAAiEBAxEB/8QAFQABAQAAAAAAAAAAAAAAAAAABQT/xAAcEAAC"
        "AgIDAAAAAAAAAAAAAAAAAwECBBEhMWH/xAAXAQEAAwAAAAAAAAAAAAAAAAAAAQMF/8QAGBEBAAMBAAAAAAAA"
        "AAAAAAAAAAEDExH/2gAMAwEAAhEDEQA/ADEY/gohVSdDRXTfKeMfjoThVdDQaEXzx//Z"
    ),
    "arithmetic": (
        "/9j/2wBDABsSFBcUERsXFhceHBsgKEIrKCUlKFE6PTBCYFVlZF9VXVtqeJmBanGQc1tdhbWGkJ6jq62rZ4C8"
        "ybqmx5moq6T/2wBDARweHigjKE4rK06kbl1upKSkpKSkpKSkpKSkpKSkpKSkpKSkpKSkpKSkpKSkpKSkpKSk"
        "pKSkpKSkpKSkpKSkpKT/yQARCAANABUDASIAAhEBAxEB/8wACgAQEAUBEBEF/9oADAMBAAIRAxEAPwD+5IlU"
        "0YqaX+Mi2WrimSqjq1K+kSZnKJVHb8KidusFBIZxgP/Z"
    ),
    "arithmetic, progressive": (
        "/9j/2wBDABsSFBcUERsXFhceHBsgKEIrKCUlKFE6PTBCYFVlZF9VXVtqeJmBanGQc1tdhbWGkJ6jq62rZ4C8"
        "ybqmx5moq6T/2wBDARweHigjKE4rK06kbl1upKSkpKSkpKSkpKSkpKSkpKSkpKSkpKSkpKSkpKSkpKSkpKSk"
        "pKSkpKSkpKSkpKSkpKT/ygARCAANABUDASIAAhEBAxEB/8wABgAQARD/2gAMAwEAAhADEAAAAf3JYv8ALljZ"
        "4tJA/8wABBAF/9oACAEBAAEFAqPjG2D/zAAEEQX/2gAIAQMBAT8BF6fg/8wABBEF/9oACAECAQE/AY0Y/8wA"
        "BBAF/9oACAEBAAY/AsD/zAAEEAX/2gAIAQEAAT8h31w7aP/aAAwDAQACAAMAAAAQ+mD/zAAEEQX/2gAIAQMB"
        "AT8QP8b/zAAEEQX/2gAIAQIBAT8QgP/MAAQQBf/aAAgBAQABPxCmMg0wFBRA/9k="
    ),
    "lossless": (
        "/9j/7gAOQWRvYmUAZAAAAAAA/8MAEQgADQAVA1IRAEcRAEIRAP/EABgAAAMBAQAAAAAAAAAAAAAAAAACBAgH"
        "/9oADANSAEcAQgABAADP+f8AndQ9Q9Q9Q9Q9Q9Q9Q9Q9Q9Q9Q9Q9Q9Q9Q9Q9Q9Q9Q5e9Q9Q9Q9Q9Q9Q9Q9Q9"
        "Q9Q9Q9Q9Q9Q9Q9Q9Q9Q9Q9Q5e9Q9Q9Q9Q9Q9Q9Q9Q9Q9Q9Q9Q9Q9Q9Q9Q9Q9Q9Q9Q5e9Q9Q9Q9Q9Q9Q9Q9Q9"
        "Q9Q9Q9Q9Q9Q9Q9Q9Q9Q9Q9Q5e9Q9Q9Q9Q9Q9Q9Q9Q9Q9Q9Q9Q9Q9Q9Q9Q9Q9Q9Q9Q5e9Q9Q9Q9Q9Q9Q9Q9Q9"
        "Q9Q9Q9Q9Q9Q9Q9Q9Q9Q9Q9Q5e9Q9Q9Q9Q9Q9Q9Q9Q9Q9Q9Q9Q9Q9Q9Q9Q9Q9Q9Q9Q5e9Q9Q9Q9Q9Q9Q9Q9Q9"
        "Q9Q9Q9Q9Q9Q9Q9Q9Q9Q9Q9Q5e9Q9Q9Q9Q9Q9Q9Q9Q9Q9Q9Q9Q9Q9Q9Q9Q9Q9Q9Q9Q5e9Q9Q9Q9Q9Q9Q9Q9Q9"
        "Q9Q9Q9Q9Q9Q9Q9Q9Q9Q9Q9Q5e9Q9Q9Q9Q9Q9Q9Q9Q9Q9Q9Q9Q9Q9Q9Q9Q9Q9Q9Q9Q5e9Q9Q9Q9Q9Q9Q9Q9Q9"
        "Q9Q9Q9Q9Q9Q9Q9Q9Q9Q9Q9Q5e9Q9Q9Q9Q9Q9Q9Q9Q9Q9Q9Q9Q9Q9Q9Q9Q9Q9Q9Q9Q/8A/9k="
    ),
}


@pytest.mark.parametrize("name", RARE)
def test_a_rare_jpeg_gives_pillows_pixels(name: str) -> None:
    data = base64.b64decode(RARE[name])
    assert same_as_pillow(data)
    for end in range(2, len(data)):
        same_as_pillow(data[:end])
        same_as_pillow(data[:end] + b"\xff\xd9")


USUAL = ["jpeg", "jpeg-progressive", "jpeg-grey"]


@pytest.mark.parametrize("name", USUAL)
def test_a_usual_jpeg_is_decode_by_torchvision(name: str, asked: list[bytes]) -> None:
    assert same_as_pillow(FILES[name])
    assert asked == [FILES[name]]


@pytest.mark.parametrize("name", ["jpeg-cmyk", "mpo"])
def test_a_jpeg_with_inks_or_more_pictures_is_pillows(name: str, asked: list[bytes]) -> None:
    decode_image(FILES[name])
    assert not asked


def test_arithmetic_coding_is_pillows_to_refuse(asked: list[bytes]) -> None:
    # Pillow cannot go on where a piece of 64 KiB ends within arithmetic coding; torchvision can.
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
def test_what_follows_a_jpeg_is_not_looked_at(name: str, junk: bytes) -> None:
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
@settings(deadline=None, max_examples=500)
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
def test_without_torchvisions_decoder_pillow_decodes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.ops, "image", object())
    assert same_as_pillow(FILES["jpeg"])


@pytest.mark.usefixtures("compared_anew")
def test_a_decoder_that_rounds_otherwise_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    by_torchvision = decode._decode_by_torchvision

    def off_by_one(data: bytes) -> Pixels | None:
        pixels = by_torchvision(data)
        return None if pixels is None else pixels ^ np.uint8(1)

    monkeypatch.setattr(decode, "_decode_by_torchvision", off_by_one)
    assert same_as_pillow(FILES["jpeg"])


# Files


def test_a_files_bytes_are_read(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(FILES["png"])
    (tmp_path / "link.png").symlink_to("a.png")
    assert (
        read_image_bytes(tmp_path / "a.png")
        == read_image_bytes(tmp_path / "link.png")
        == FILES["png"]
    )


def test_a_missing_file_is_an_image_error(tmp_path: Path) -> None:
    (tmp_path / "link.jpg").symlink_to("gone.jpg")
    for name in ["gone.jpg", "link.jpg", "gone/a.jpg"]:
        with pytest.raises(ImageError, match="cannot be read: No such file"):
            read_image_bytes(tmp_path / name)


def test_a_name_that_no_file_can_have_is_an_image_error(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="cannot be read"):
        read_image_bytes(tmp_path / ("x" * 300 + ".jpg"))


def test_a_directory_is_no_image(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").mkdir()
    with pytest.raises(ImageError, match="not a regular file"):
        read_image_bytes(tmp_path / "a.jpg")


@pytest.mark.timeout(10)
@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes among this system's files")
def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.jpg")
    with pytest.raises(ImageError, match="not a regular file"):
        read_image_bytes(tmp_path / "a.jpg")


@pytest.mark.timeout(10)
@pytest.mark.skipif(not Path("/dev/zero").exists(), reason="no such device")
def test_a_file_without_end_is_not_read() -> None:
    with pytest.raises(ImageError, match="not a regular file"):
        read_image_bytes(Path("/dev/zero"))


@pytest.mark.parametrize("number", [errno.EACCES, errno.ENOENT, errno.EIO])
def test_a_file_that_the_system_refuses_is_an_image_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def refuse(path: str, *_: object, **__: object) -> Any:
        raise OSError(number, os.strerror(number), path)

    (tmp_path / "a.jpg").write_bytes(FILES["jpeg"])
    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(ImageError) as caught:
        read_image_bytes(tmp_path / "a.jpg")
    assert str(caught.value) == f"cannot be read: {os.strerror(number)}"


@pytest.mark.parametrize("number", [errno.ESTALE, errno.ETIMEDOUT, errno.EMFILE])
def test_a_disk_that_is_out_of_reach_is_no_fault_of_the_images(
    photos: Path, extract_tiny: Extract, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    reading = os.open
    count = iter(range(1000))

    def fail(path: Any, flags: int, *mode: int) -> int:
        if "photos" in str(path) and next(count) == 20:
            raise OSError(number, os.strerror(number), path)
        return reading(path, flags, *mode)

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", fail)
        with pytest.raises(OSError, match=os.strerror(number)):
            extract_tiny(photos)
    done = extract_tiny(photos)
    assert (done.rejected, missing_shards(done.cache, "layer2")) == ({}, [])


@pytest.mark.parametrize("change", ["longer", "shorter", "same length"])
def test_a_file_that_changes_while_it_is_read_is_an_image_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    path, data = tmp_path / "a.jpg", FILES["jpeg"]
    path.write_bytes(data)
    fstat = os.fstat

    def write_then_stat(handle: int) -> os.stat_result:
        monkeypatch.setattr(os, "fstat", fstat)  # only between the first look and the reading
        status = fstat(handle)
        new = {"longer": data + b"x", "shorter": data[:-1], "same length": data[::-1]}[change]
        path.write_bytes(new)
        os.utime(path, ns=(status.st_mtime_ns + 1, status.st_mtime_ns + 1))
        return status

    monkeypatch.setattr(os, "fstat", write_then_stat)
    with pytest.raises(ImageError, match="changed while it was being read"):
        read_image_bytes(path)
    read_image_bytes(path)


def test_a_file_larger_than_any_image_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "a.jpg").open("wb") as file:
        file.truncate(1 << 40)  # takes no room on the disk
    with pytest.raises(ImageError, match="cannot be read: 1099511627776 bytes, more than"):
        read_image_bytes(tmp_path / "a.jpg")


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


def test_what_follows_a_picture_is_not_counted_as_its_scans() -> None:
    film = np.random.default_rng(0).bytes(12 << 20)  # as phones put behind a still picture
    assert film.count(b"\xff\xda") > 100
    for kind in ("jpeg", "jpeg-progressive"):
        np.testing.assert_array_equal(decode_image(FILES[kind] + film), decode_image(FILES[kind]))


@pytest.mark.skipif(sys.platform == "win32" or os.geteuid() == 0, reason="root may read all")
def test_a_file_that_may_not_be_read_is_an_image_error(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(FILES["jpeg"])
    (tmp_path / "a.jpg").chmod(0)
    with pytest.raises(ImageError, match="cannot be read: Permission denied"):
        read_image_bytes(tmp_path / "a.jpg")


# Preparation


def on_tensors(transform: InputTransform) -> v2.Compose:
    return v2.Compose(
        [
            v2.Resize(transform.resize, InterpolationMode(transform.interpolation)),
            v2.CenterCrop(transform.crop),
        ]
    )


def prepared_by_torchvision(pixels: Pixels, transform: InputTransform) -> Pixels:
    image = torch.from_numpy(pixels).permute(2, 0, 1).contiguous()
    prepared: Pixels = on_tensors(transform)(image).permute(1, 2, 0).numpy()
    return prepared


@settings(deadline=None)
@given(
    width=st.integers(1, 70),
    height=st.integers(1, 70),
    resize=st.integers(2, 50),  # torch resizes no contiguous tensor to one pixel: a bug of its own
    crop=st.integers(1, 70),
    interpolation=st.sampled_from(INTERPOLATIONS),
)
@example(width=33, height=32, resize=31, crop=18, interpolation="bilinear")  # half a pixel off
@example(width=32, height=33, resize=31, crop=18, interpolation="bicubic")
@example(width=1, height=70, resize=50, crop=50, interpolation="nearest")
@example(width=20, height=30, resize=20, crop=25, interpolation="bilinear")  # larger one way
@example(width=20, height=20, resize=20, crop=33, interpolation="bilinear")  # larger both ways
def test_preparation_equals_torchvisions_bit_by_bit(
    width: int, height: int, resize: int, crop: int, interpolation: str
) -> None:
    image = noise(height, width, 3)
    transform = InputTransform(resize=resize, crop=crop, interpolation=interpolation)
    pixels = resize_and_crop(image, transform)
    assert pixels.shape == (crop, crop, 3)
    assert pixels.dtype == np.uint8
    assert pixels.flags.c_contiguous
    np.testing.assert_array_equal(pixels, prepared_by_torchvision(image, transform))
    np.testing.assert_array_equal(image, noise(height, width, 3))  # as it was


@pytest.mark.parametrize("size", [(500, 333), (333, 500), (256, 256), (640, 480)])
def test_preparation_of_a_photographs_size_equals_torchvisions(size: tuple[int, int]) -> None:
    image = noise(size[1], size[0], 3)
    expected = prepared_by_torchvision(image, InputTransform())
    np.testing.assert_array_equal(resize_and_crop(image, InputTransform()), expected)


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_an_image_is_resized_to_one_pixel(interpolation: str) -> None:
    one = InputTransform(resize=1, crop=1, interpolation=interpolation)
    mean = noise(5, 5, 3).mean(axis=(0, 1))
    assert np.abs(resize_and_crop(noise(5, 5, 3), one)[0, 0] - mean).max() < 25


@pytest.mark.parametrize(("interpolation", "most"), [("bilinear", 1), ("bicubic", 2)])
@pytest.mark.parametrize("size", [(500, 375), (333, 500), (131, 90), (640, 480)])
def test_preparation_is_nearly_that_of_torchvisions_preset_on_pil_images(
    size: tuple[int, int], interpolation: str, most: int
) -> None:
    image = noise(size[1], size[0], 3)
    preset = v2.Compose([on_tensors(InputTransform(interpolation=interpolation)), v2.PILToTensor()])
    expected = preset(Image.fromarray(image)).permute(1, 2, 0).numpy()
    pixels = resize_and_crop(image, InputTransform(interpolation=interpolation))
    differences = np.abs(pixels.astype(int) - expected)
    assert differences.max() <= most
    assert (differences > 0).mean() < 0.02


def test_every_interpolation_has_torchvisions_name() -> None:
    assert sorted(INTERPOLATIONS) == ["bicubic", "bilinear", "nearest"]


def test_what_a_large_crop_adds_is_black() -> None:
    white = np.full((4, 4, 3), 255, dtype=np.uint8)
    pixels = resize_and_crop(white, InputTransform(resize=4, crop=8))
    expected = np.zeros((8, 8, 3))
    expected[2:6, 2:6] = 255
    np.testing.assert_array_equal(pixels, expected)


@pytest.mark.parametrize(("length", "fits"), [(100, True), (101, False)])
@pytest.mark.parametrize("turned", [False, True])
def test_the_resized_image_may_have_as_many_pixels_as_pillow_allows(
    monkeypatch: pytest.MonkeyPatch, length: int, fits: bool, turned: bool
) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10 * 100)
    image = np.zeros((length, 10, 3) if turned else (10, length, 3), dtype=np.uint8)
    if fits:
        assert resize_and_crop(image, InputTransform(resize=10, crop=8)).shape == (8, 8, 3)
    else:
        with pytest.raises(ImageError, match="too long and thin"):
            resize_and_crop(image, InputTransform(resize=10, crop=8))


THIN = """
import resource
from pathlib import Path
import numpy as np
from bottleneck.data.decode import resize_and_crop
from bottleneck.errors import ImageError
from bottleneck.spec import InputTransform

def kibibytes(name):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name))

# Should the image be resized after all, that fails before the machine does.
limit = (kibibytes("VmSize:") << 10) + (2 << 30)
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
before = kibibytes("VmHWM:")
for size in [(65500, 1), (1, 65500)]:
    try:
        resize_and_crop(np.zeros((size[1], size[0], 3), dtype=np.uint8), InputTransform())
    except ImageError as error:
        assert "too long and thin" in str(error) and f"{size[0]} × {size[1]}" in str(error)
    else:
        raise AssertionError("a hair was prepared")
print(kibibytes("VmHWM:") - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="memory is measured in Linux's way")
def test_a_hair_is_rejected_within_little_memory() -> None:
    done = subprocess.run([sys.executable, "-c", THIN], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 64 * 1024  # KiB; its 16,768,000 × 256 pixels would be 12 GiB


# The whole path


class Glass(nn.Module):
    """A network that shows its input."""

    def __init__(self) -> None:
        super().__init__()
        self.pane = nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return torch.as_tensor(self.pane(x))


def inputs_of(paths: list[Path], transform: InputTransform) -> NDArray[np.float32]:
    """What a network is given for some files, shape (n, 3, crop, crop)."""
    network = Glass().eval()
    backbone = Backbone(network, "glass", "", transform, ModelReference("glass", "none"))
    spec = make_spec(backbone, precision="float32", relu=False, pool="none")
    encoder = Encoder(backbone, backbone.layers, spec, [torch.device("cpu")])
    (batch,) = encoder.encode(FileSource.from_paths(paths), [range(len(paths))], workers=2)
    assert batch.reason == [""] * len(paths)
    return batch.codes["pane"]


def preset_of(name: str) -> Any:
    return torchvision.models.get_weight(name).transforms()


def small_preset() -> Any:
    weights = torchvision.models.get_weight("ResNet50_Weights.IMAGENET1K_V1")
    return weights.transforms(resize_size=40, crop_size=57, interpolation=InterpolationMode.NEAREST)


@pytest.mark.parametrize(
    "preset",
    [
        preset_of("ResNet50_Weights.IMAGENET1K_V1"),  # 256 → 224, bilinear
        preset_of("EfficientNet_B0_Weights.IMAGENET1K_V1"),  # 256 → 224, bicubic
        preset_of("Inception_V3_Weights.IMAGENET1K_V1"),  # 342 → 299
        small_preset(),  # a crop larger than the resized image
    ],
    ids=["resnet", "efficientnet", "inception", "small"],
)
def test_the_whole_path_equals_torchvisions_on_tensors(tmp_path: Path, preset: Any) -> None:
    paths = [tmp_path / name for name in ["wide.jpg", "tall.png", "grey.png", "small.bmp"]]
    for path, shape in zip(paths, [(90, 131, 3), (131, 90, 3), (77, 80), (9, 7, 3)], strict=True):
        Image.fromarray(noise(*shape)).save(path)
    transform = InputTransform(
        resize=preset.resize_size[0],
        crop=preset.crop_size[0],
        mean=tuple(preset.mean),
        std=tuple(preset.std),
        interpolation=preset.interpolation.value,
    )
    inputs = torch.from_numpy(inputs_of(paths, transform))
    for given_input, path in zip(inputs, paths, strict=True):
        with Image.open(path) as image:
            pixels = on_tensors(transform)(v2.functional.pil_to_tensor(image.convert("RGB")))
        # As the preset ends; v2's normalize rounds in another order.
        scaled = F.convert_image_dtype(pixels, torch.float32)
        expected = F.normalize(scaled, mean=preset.mean, std=preset.std)
        assert torch.equal(given_input, expected), path.name


def test_the_preprocessing_by_default_is_that_of_torchvisions_resnet() -> None:
    preset = preset_of("ResNet50_Weights.IMAGENET1K_V1")
    assert InputTransform() == InputTransform(
        resize=preset.resize_size[0],
        crop=preset.crop_size[0],
        mean=tuple(preset.mean),
        std=tuple(preset.std),
        interpolation=preset.interpolation.value,
    )


# Whatever comes


def image_or_error(data: bytes) -> None:
    """Decode; anything but RGB pixels or an `ImageError` of one line fails."""
    try:
        pixels = decode_image(data)
    except ImageError as error:
        assert str(error).startswith("cannot be decoded: ")
        assert "\n" not in str(error)
        return
    assert pixels.dtype == np.uint8
    assert pixels.shape[2:] == (3,)


@pytest.fixture(scope="module")
def few_pixels() -> Iterator[None]:
    """A header that was hit must not make the tests slow."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Image, "MAX_IMAGE_PIXELS", 200_000)
        yield


def mutated(data: bytes, seed: int, edits: int) -> bytes:
    """Bytes replaced, flipped, removed, repeated and cut, mostly near the head."""
    draw = random.Random(seed)
    result = bytearray(data)
    for _ in range(edits):
        place = int(len(result) * draw.random() ** 3)
        match draw.randrange(6):
            case 0:
                result[place : place + 1] = bytes([draw.randrange(256)])
            case 1:
                result[place : place + 1] = bytes(b ^ 1 << draw.randrange(8) for b in result[:1])
            case 2:
                result[place : place + 4] = draw.choice([b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x7f"])
            case 3:
                del result[place : place + draw.choice([1, 2, 20])]
            case 4:
                result[place:place] = result[place : place + draw.choice([2, 4, 12])]
            case _:
                del result[len(result) - draw.randrange(1 + len(result) // 4) :]
    return bytes(result)


@READS_PAST_DAMAGE
@pytest.mark.usefixtures("few_pixels")
@settings(deadline=None, max_examples=600)
@given(st.sampled_from(sorted(FILES)), st.integers(0, 2**32 - 1), st.integers(1, 6))
def test_a_damaged_file_gives_an_image_or_an_image_error(name: str, seed: int, edits: int) -> None:
    image_or_error(mutated(FILES[name], seed, edits))


MAGICS = [b"", *(data[:12] for data in FILES.values())]


@READS_PAST_DAMAGE
@pytest.mark.usefixtures("few_pixels")
@settings(deadline=None, max_examples=300)
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


# Threads

READERS = """
import bottleneck.data.decode
from PIL import Image
print(*Image.OPEN)
"""


def test_every_reader_is_there_before_a_thread_can_ask_for_one() -> None:
    # Pillow registers WebP and TIFF when they are first met; a second thread may then miss them.
    done = subprocess.run(
        [sys.executable, "-c", READERS], capture_output=True, text=True, check=False
    )
    formats = {"JPEG", "PNG", "WEBP", "GIF", "BMP", "DIB", "TIFF", "PPM"}
    assert formats <= set(done.stdout.split()), done.stderr


THREADS = """
import hashlib, json, sys, threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from bottleneck.data.decode import decode_image
from bottleneck.data.reading import read_image_bytes

paths = sorted(Path(sys.argv[1]).iterdir())
together = threading.Barrier(8)

def decode(start):
    together.wait()
    found = {}
    for path in paths[start:] + paths[:start]:
        image = decode_image(read_image_bytes(path))
        found[path.name] = hashlib.sha256(image.tobytes()).hexdigest()
    return found

with ThreadPoolExecutor(8) as pool:
    print(json.dumps(list(pool.map(decode, [len(paths) * i // 8 for i in range(8)]))))
"""


def test_eight_threads_of_a_fresh_interpreter_decode_every_format(tmp_path: Path) -> None:
    digests = {}
    for name, data in FILES.items():
        (tmp_path / name).write_bytes(data)
        with Image.open(io.BytesIO(data)) as image:
            upright = image.convert("RGBA")
        paper = Image.new("RGBA", upright.size, "white")
        pixels = Image.alpha_composite(paper, upright).convert("RGB")
        digests[name] = hashlib.sha256(pixels.tobytes()).hexdigest()
    done = subprocess.run(
        [sys.executable, "-c", THREADS, str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [digests] * 8
