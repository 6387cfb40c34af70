"""Image files of every format, and damage to them."""

import io
import random
import struct
import zlib
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageFile

from bottleneck.data.decoding.decode import decode_image
from bottleneck.data.decoding.formats import optional_formats, readers
from bottleneck.errors import ImageError

Pixels = NDArray[np.uint8]

WIDTH, HEIGHT = 24, 16

# Pillow speaks of damage that it reads past; the tests below do that damage on purpose.
READS_PAST_DAMAGE = pytest.mark.filterwarnings(r"ignore::UserWarning:PIL\..*")


def encode(image: Image.Image, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    # Pillow's progressive encoder fails if a file exceeds its buffer, as one of noise can.
    with patch.object(ImageFile, "MAXBLOCK", 1 << 20):
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

# Formats that only some installations read.
for _format in optional_formats():
    if _format.available and _format.reader in readers():
        FILES[_format.name.lower().replace(" ", "")] = encode(RGB, _format.reader)


def exif_of(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


def right_or_rejected(cut: bytes, whole: bytes) -> bool:
    """Whether a cut file was rejected; if it was not, it must have given the right pixels."""
    try:
        pixels = decoded(cut)
    except ImageError:
        return True
    np.testing.assert_array_equal(pixels, decoded(whole))
    return False


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


BOMBS = {
    "png": png((50_000, 50_000), depth=8, colour=2, rows=[b"\0" * 100]),
    "ppm": b"P6 50000 50000 255\n" + b"\0" * 100,
    "gif": b"GIF89a\xff\xff\xff\xff\0\0\0,\0\0\0\0\xff\xff\xff\xff\0\x08" + b"\0" * 100,
    "bmp": b"BM"
    + struct.pack("<IIIIiiHHIIiiII", 154, 0, 54, 40, 50_000, 50_000, 1, 24, 0, 100, 0, 0, 0, 0)
    + b"\0" * 100,
}


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
