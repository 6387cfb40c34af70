"""Read and write the manifest of a cache, which is in ``spec.json`` and in every shard's header.

Manifests are untrusted input: every field is validated.
"""

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from bottleneck.cache.format.paths import has_shards
from bottleneck.cache.format.series import Series
from bottleneck.data import ViewRecipe
from bottleneck.errors import CacheError, UnsupportedCacheError, format_error
from bottleneck.model_reference import ModelReference
from bottleneck.runtime import sha256
from bottleneck.spec import Spec

FORMAT = "bottleneck-cache"
FORMAT_VERSION = 3  # of a new cache
VERSIONS = (2, FORMAT_VERSION)  # that are read; a cache keeps the version that it was begun with

DTYPES = ("float16", "float32")
COMPRESSIONS = ("none", "lzf", "gzip")

RESTORE = "`bottleneck.repair` makes it again if any shard is sound"

MAX_SHARD_SIZE = (1 << 32) - 1  # rows

# What parsing raises on JSON that is no manifest.
PARSE_ERRORS = (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError)


@dataclass(frozen=True)
class StorageLayout:
    """How codes are stored. Changes no value, except for the rounding of float16.

    Attributes
    ----------
    dtype : str
        Type of the codes, one of `DTYPES`.
    shard_size : int
        Rows of a shard, from 1 to `MAX_SHARD_SIZE`.
    compression : str
        Compression of the codes, one of `COMPRESSIONS`.

    Raises
    ------
    ValueError
        A value is not allowed.

    Examples
    --------
    >>> StorageLayout("float16", 4096, "none").shard_size
    4096
    """

    dtype: str
    shard_size: int
    compression: str

    def __post_init__(self) -> None:
        if self.dtype not in DTYPES or self.compression not in COMPRESSIONS:
            raise ValueError(f"no layout is {self.dtype!r} compressed by {self.compression!r}")
        if type(self.shard_size) is not int or not 1 <= self.shard_size <= MAX_SHARD_SIZE:
            raise ValueError(f"no shard has {self.shard_size!r} rows")


@dataclass(frozen=True)
class Manifest:
    """Description of a cache, apart from its images and codes.

    It never changes, except that a cache without views may be given a recipe for them.

    Attributes
    ----------
    spec : Spec
        What determines the values of the codes.
    layout : StorageLayout
        How the codes are stored.
    reference : ModelReference
        Where the network came from.
    cache_id : str
        Digest of the first table of images of the cache. It tells the shards of two caches with
        the same spec apart.
    version : int
        Version of the format of all files of the cache, one of `VERSIONS`.
    view_recipe : ViewRecipe or None
        How the views of each image are made; None in a cache that never had any.
    """

    spec: Spec
    layout: StorageLayout
    reference: ModelReference
    cache_id: str
    version: int = FORMAT_VERSION
    view_recipe: ViewRecipe | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the manifest as a dictionary of plain values, with the keys of ``spec.json``.

        The version is not among them: each file has it in its first line or key.
        """
        values = {
            "spec": self.spec.to_json(version=self.version),
            "layout": dataclasses.asdict(self.layout),
            "source": dataclasses.asdict(self.reference),
            "identity": self.cache_id,
        }
        if self.version < 3:
            return values
        return {**values, "views": [self.view_recipe.to_json()] if self.view_recipe else []}

    @classmethod
    def from_json(cls, values: dict[str, Any], version: int = FORMAT_VERSION) -> Self:
        """Return a manifest from what `to_json` returned.

        Parameters
        ----------
        values : dict
        version : int
            Version of the file that has them.

        Raises
        ------
        ValueError, KeyError, TypeError, AttributeError
            The values are not a manifest. All are among `PARSE_ERRORS`; the caller names the file.
        """
        cache_id = values["identity"]
        if not isinstance(cache_id, str):
            raise TypeError("identity is no text")
        if ("views" in values) != (version >= 3):  # a shard's version is outside all digests
            raise ValueError(f"its keys are not those of version {version}")
        recipes = values.get("views", [])
        if not isinstance(recipes, list) or len(recipes) > 1:
            raise TypeError("views is no list of at most one recipe")
        return cls(
            Spec.from_json(values["spec"]),
            StorageLayout(**values["layout"]),
            ModelReference(**values["source"]),
            cache_id,
            version,
            ViewRecipe.from_json(recipes[0]) if recipes else None,
        )

    def is_of(self, other: "Manifest") -> bool:
        """Return whether two manifests are of one cache; the rest of them may differ."""
        mine = (self.cache_id, self.spec, self.version)
        return mine == (other.cache_id, other.spec, other.version)

    def canonical_json(self, series: Series) -> str:
        """Return the text that tells codes of a series from all that are not comparable."""
        recipe = self.view_recipe
        view = recipe.of_view(series.view) if recipe and series.view else None
        return self.spec.canonical_json(series.layer, view)


def manifest_text(manifest: Manifest) -> str:
    """Return the content of ``spec.json``."""
    values = {
        "format": FORMAT,
        "format_version": manifest.version,
        **manifest.to_json(),
        "spec_digest": manifest.spec.digest(),
    }
    return json.dumps({**values, "sha256": _digest(values)}, indent=2) + "\n"


def parse_manifest(path: Path, text: bytes) -> Manifest:
    """Parse the content of ``spec.json``.

    Parameters
    ----------
    path : Path
        The cache, for messages.
    text : bytes
        Content of the file.

    Raises
    ------
    CacheError
        The content has another format or version, is damaged, or was edited.
    UnsupportedCacheError
        It is intact, and has another format or version, or views that are made by a rule that
        this program does not know.
    """
    try:
        values = json.loads(text)
        intact = values.pop("sha256", None) == _digest(values)
        version = values["format_version"]
        if values["format"] != FORMAT or type(version) is not int or version not in VERSIONS:
            refusal = UnsupportedCacheError if intact else CacheError
            raise refusal(
                f"{path}: spec.json has format {values['format']!r} version {version!r}; this "
                f"program reads {FORMAT!r} {' and '.join(map(str, VERSIONS))}: extract into a new "
                "directory, or use the program that made it"
            )
        if not intact:
            raise CacheError(
                f"{path}: spec.json was edited, its digest is not that of its values: {RESTORE}"
            )
        _require_known_views(path, values.get("views"))
        return Manifest.from_json(values, version)
    except PARSE_ERRORS as error:
        raise CacheError(
            f"{path}: spec.json is damaged ({format_error(error)}): {RESTORE}"
        ) from error


def _require_known_views(path: Path, recipes: Any) -> None:
    """Refuse views that a later program made: their shards would look damaged."""
    if not recipes:
        return
    try:
        (recipe,) = recipes
        ViewRecipe.from_json(recipe)
    except PARSE_ERRORS as error:
        raise UnsupportedCacheError(
            f"{path}: spec.json names views of each image that this program does not make "
            f"({format_error(error)}): use the program that made it, or extract into a new "
            "directory"
        ) from error


def _digest(values: dict[str, Any]) -> str:
    return sha256(json.dumps(values, sort_keys=True, separators=(",", ":")).encode())


def is_cache(path: Path) -> bool:
    """Return whether a directory is a cache, that is, contains a ``spec.json``.

    Examples
    --------
    >>> is_cache(Path("tests/data/before/cache")), is_cache(Path("tests"))
    (True, False)
    """
    return (path / "spec.json").is_file()


def require_cache(path: Path) -> None:
    """Require that a directory is a cache.

    Raises
    ------
    CacheError
        It contains no ``spec.json``.
    """
    if is_cache(path):
        return
    if has_shards(path):  # half of a copy
        raise CacheError(f"{path}: spec.json is absent: {RESTORE}")
    found = ", which is a file" if path.is_file() else " (no spec.json in it)"
    raise CacheError(f"no cache at {path}{found}: `bottleneck.extract` makes one")


def read_manifest(path: Path) -> Manifest:
    """Read the manifest of a cache.

    Parameters
    ----------
    path : Path

    Raises
    ------
    CacheError
        There is no cache at `path`, or its ``spec.json`` is damaged.

    Examples
    --------
    >>> read_manifest(Path("tests/data/before/cache")).layout
    StorageLayout(dtype='float16', shard_size=8, compression='none')
    """
    require_cache(path)
    return parse_manifest(path, (path / "spec.json").read_bytes())


def cache_fingerprint(path: Path) -> str:
    """Return a digest of a cache's manifest and images; empty if they cannot be read.

    A worker that gets another fingerprint at the same path is not on the same file system, or the
    cache has changed since.

    Parameters
    ----------
    path : Path
    """
    try:
        with (path / "images.csv").open("rb") as table:  # its first line has the digest of all
            return sha256((path / "spec.json").read_bytes(), table.readline())
    except OSError:
        return ""
