"""The manifest: what a cache says of itself, in ``spec.json`` and at the head of every shard.

Whoever reads one has not written it: every value is looked at before it is used.
"""

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from bottleneck.errors import CacheError, format_error
from bottleneck.runtime.files import sha256
from bottleneck.spec import ModelReference, Spec

FORMAT = "bottleneck-cache"
FORMAT_VERSION = 2

DTYPES = ("float16", "float32")
COMPRESSIONS = ("none", "lzf", "gzip")

RESTORE = "`bottleneck.repair` makes it again if any shard is sound"

# What parsing raises on JSON that is no manifest.
PARSE_ERRORS = (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError)


@dataclass(frozen=True)
class StorageLayout:
    """How codes are laid down; decides no number but float16's rounding.

    Attributes
    ----------
    dtype : str
        One of `DTYPES`.
    shard_size : int
        Rows of a shard, at least 1.
    compression : str
        Of the codes: one of `COMPRESSIONS`.

    Raises
    ------
    ValueError
        A value is none of these.
    """

    dtype: str
    shard_size: int
    compression: str

    def __post_init__(self) -> None:
        if self.dtype not in DTYPES or self.compression not in COMPRESSIONS:
            raise ValueError(f"no layout is {self.dtype!r} compressed by {self.compression!r}")
        if type(self.shard_size) is not int or not 1 <= self.shard_size < 1 << 32:
            raise ValueError(f"no shard has {self.shard_size!r} rows")


@dataclass(frozen=True)
class Manifest:
    """What a cache is, apart from its images and its codes; the same as long as it lives.

    Attributes
    ----------
    spec : Spec
        What decides its numbers.
    layout : StorageLayout
        How they are laid down.
    reference : ModelReference
        Where the network came from.
    cache_id : str
        The digest of the table of images that the cache began with: of two caches with one spec,
        each knows its own shards.
    """

    spec: Spec
    layout: StorageLayout
    reference: ModelReference
    cache_id: str

    def to_json(self) -> dict[str, Any]:
        """Return the manifest as a dictionary of plain values, with the keys of ``spec.json``."""
        return {
            "spec": self.spec.to_json(),
            "layout": dataclasses.asdict(self.layout),
            "source": dataclasses.asdict(self.reference),
            "identity": self.cache_id,
        }

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Self:
        """The inverse of `to_json`.

        Raises
        ------
        ValueError, KeyError, TypeError, AttributeError
            `values` is no manifest (all are among `PARSE_ERRORS`); whoever read it names the file.
        """
        cache_id = values["identity"]
        if not isinstance(cache_id, str):
            raise TypeError("identity is no text")
        return cls(
            Spec.from_json(values["spec"]),
            StorageLayout(**values["layout"]),
            ModelReference(**values["source"]),
            cache_id,
        )

    def is_of(self, other: "Manifest") -> bool:
        """Whether shards of the two are of one cache; their layouts and sources may differ."""
        return (self.cache_id, self.spec) == (other.cache_id, other.spec)


def manifest_text(manifest: Manifest) -> str:
    """What stands in ``spec.json``."""
    values = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        **manifest.to_json(),
        "spec_digest": manifest.spec.digest(),
    }
    return json.dumps({**values, "sha256": _digest(values)}, indent=2) + "\n"


def parse_manifest(path: Path, text: bytes) -> Manifest:
    """Read what stands in ``spec.json``.

    Parameters
    ----------
    path : Path
        The cache, for messages.
    text : bytes

    Raises
    ------
    CacheError
        It is of another format or version, damaged, or was edited.
    """
    try:
        values = json.loads(text)
        if (values["format"], values["format_version"]) != (FORMAT, FORMAT_VERSION):
            raise CacheError(
                f"{path}: spec.json has format {values['format']!r} version "
                f"{values['format_version']!r}; this program reads {FORMAT!r} {FORMAT_VERSION}: "
                "extract into a new directory, or use the program that made it"
            )
        if values.pop("sha256") != _digest(values):
            raise CacheError(
                f"{path}: spec.json was edited, its digest is not that of its values: {RESTORE}"
            )
        return Manifest.from_json(values)
    except PARSE_ERRORS as error:
        raise CacheError(
            f"{path}: spec.json is damaged ({format_error(error)}): {RESTORE}"
        ) from error


def _digest(values: dict[str, Any]) -> str:
    return sha256(json.dumps(values, sort_keys=True, separators=(",", ":")).encode())


def is_cache(path: Path) -> bool:
    """Whether a directory is a cache, that is, holds a ``spec.json``."""
    return (path / "spec.json").is_file()


def require_cache(path: Path) -> None:
    """Refuse a directory that is no cache.

    Raises
    ------
    CacheError
    """
    if not is_cache(path):
        raise CacheError(f"no cache at {path} (no spec.json in it): `bottleneck.extract` makes one")


def read_manifest(path: Path) -> Manifest:
    """What a cache says of itself, without its table of images.

    Raises
    ------
    CacheError
        There is none at `path`, or its ``spec.json`` is damaged.
    """
    require_cache(path)
    return parse_manifest(path, (path / "spec.json").read_bytes())


def cache_fingerprint(path: Path) -> str:
    """A digest of what a cache says of itself and of its images; empty where it cannot be read.

    Whoever sees another one there, or none, is not on the same file system.
    """
    try:
        with (path / "images.csv").open("rb") as table:  # its first line has the digest of all
            return sha256((path / "spec.json").read_bytes(), table.readline())
    except OSError:
        return ""
