import hashlib
import io
import json
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from bottleneck.data.decoding.decode import decode_image
from bottleneck.errors import ImageError
from tests.helpers.image_files import (
    BROKEN_EXIF,
    FILES,
    HEIGHT,
    READS_PAST_DAMAGE,
    RGB,
    WIDTH,
    Pixels,
    chunk,
    decoded,
    encode,
    exif_of,
    few_colours,
    gradient,
    noise,
    over_white,
    palette_image,
    png,
    repeated,
)

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


@pytest.mark.parametrize("kind", ["ICO", "TGA", "PCX", "SGI", "EPS"])
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


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@READS_PAST_DAMAGE
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


# Threads

THREADS = """
import hashlib, json, sys, threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from bottleneck.data.decoding.decode import decode_image
from PIL import Image

readers = list(Image.OPEN)
paths = sorted(Path(sys.argv[1]).iterdir())
together = threading.Barrier(8)

def decode(start):
    together.wait()
    found = {}
    for path in paths[start:] + paths[:start]:
        image = decode_image(path.read_bytes())
        found[path.name] = hashlib.sha256(image.tobytes()).hexdigest()
    return found

with ThreadPoolExecutor(8) as pool:
    print(json.dumps([readers, *pool.map(decode, [len(paths) * i // 8 for i in range(8)])]))
"""


@pytest.mark.slow
def test_eight_threads_of_a_fresh_interpreter_decode_every_format(tmp_path: Path) -> None:
    """Pillow registers WebP and TIFF during the first decoding; a second thread may miss them."""
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
    readers, *found = json.loads(done.stdout)
    assert {"JPEG", "PNG", "WEBP", "GIF", "BMP", "DIB", "TIFF", "PPM"} <= set(readers)
    assert found == [digests] * 8
