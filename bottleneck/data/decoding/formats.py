"""The formats of image files: their suffixes, and which of them this installation reads.

The usual formats are read by every Pillow. Whether AVIF and JPEG 2000 are depends on how it was
built. HEIC is read with the package pillow-heif.
"""

import importlib.util
from dataclasses import dataclass
from functools import cache

from bottleneck.runtime import installation

_JPEG = (".jpg", ".jpeg", ".jpe", ".jfif")
_PNM = (".ppm", ".pgm", ".pbm", ".pnm")
_USUAL_SUFFIXES = (*_JPEG, ".png", ".webp", ".gif", ".bmp", ".dib", ".tif", ".tiff", *_PNM)

# Pillow's other readers are less safe (EPS starts a program) and not needed. The JPEG reader also
# reads MPO, a camera's JPEG that has more pictures after the first.
_USUAL_FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "DIB", "TIFF", "PPM")

# Of an ISO media file: ISO/IEC 23008-12, annex B, and the AVIF specification, section 6.
_HEIC_BRANDS = (b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"hevm", b"hevs")
_ANY_BRANDS = (b"mif1", b"msf1")
_AVIF_BRANDS = (b"avif", b"avis")
_JPEG2000 = (b"\xff\x4f\xff\x51", b"\0\0\0\x0cjP  \r\n\x87\n")


@dataclass(frozen=True)
class OptionalFormat:
    """A format that only some installations read.

    Attributes
    ----------
    name : str
        As users call it.
    reader : str
        Pillow's name of its reader.
    suffixes : tuple of str
        Of its files, in lower case.
    available : bool
        Whether this installation reads it.
    needs : str
        What has to be installed where it is not available.
    """

    name: str
    reader: str
    suffixes: tuple[str, ...]
    available: bool
    needs: str


@cache
def optional_formats() -> tuple[OptionalFormat, ...]:
    """Return the formats that only some installations read, available or not.

    Examples
    --------
    >>> [found.name for found in optional_formats()]
    ['AVIF', 'JPEG 2000', 'HEIC']
    """
    from PIL import features  # imported here, since fitting needs no Pillow

    supported = features.get_supported()  # `check` would warn of names that an older Pillow lacks
    heif = importlib.util.find_spec("pillow_heif") is not None
    jpeg2000 = (".jp2", ".j2k", ".jpx", ".jpf", ".j2c", ".jpc")
    return (
        OptionalFormat("AVIF", "AVIF", (".avif",), "avif" in supported, "Pillow 11.3 or later"),
        OptionalFormat(
            "JPEG 2000", "JPEG2000", jpeg2000, "jpg_2000" in supported, "a Pillow with OpenJPEG"
        ),
        OptionalFormat(
            "HEIC",
            "HEIF",
            (".heic", ".heif"),
            heif,
            f"pillow-heif, which {installation('heif')} installs",
        ),
    )


@cache
def readers() -> tuple[str, ...]:
    """Return Pillow's names of the readers that are used, and register that of HEIC.

    Examples
    --------
    >>> "PNG" in readers(), "EPS" in readers()
    (True, False)
    """
    available = tuple(found.reader for found in optional_formats() if found.available)
    if "HEIF" in available:
        import pillow_heif

        pillow_heif.register_heif_opener(thumbnails=False)
    return (*_USUAL_FORMATS, *available)


@cache
def image_suffixes() -> frozenset[str]:
    """Return the suffixes, in lower case, of the files that this installation reads.

    Examples
    --------
    >>> ".jpg" in image_suffixes(), ".svg" in image_suffixes()
    (True, False)
    """
    available = (found.suffixes for found in optional_formats() if found.available)
    return frozenset((*_USUAL_SUFFIXES, *(suffix for some in available for suffix in some)))


def explain_unidentified(data: bytes) -> str:
    r"""Return why no reader took an image of an optional format; empty for any other file.

    Parameters
    ----------
    data : bytes
        A file, or its beginning.

    Examples
    --------
    >>> explain_unidentified(b"\x89PNG\r\n\x1a\n")
    ''
    """
    name = ""
    if data[4:8] == b"ftyp":
        # A file of a general brand names its coding among the compatible brands.
        brands = data[8:12] if data[8:12] not in _ANY_BRANDS else data[8:64]
        name = "AVIF" if any(brand in brands for brand in _AVIF_BRANDS) else name
        name = "HEIC" if any(brand in brands for brand in _HEIC_BRANDS) else name
    elif data.startswith(_JPEG2000):
        name = "JPEG 2000"
    for found in optional_formats():
        if found.name == name:
            return f"the {name} is damaged" if found.available else f"{name} needs {found.needs}"
    return ""
