"""``spec.json``: what a cache says of itself, its spec, its layout and where its network came from.

Whoever reads one has not written it: every value is looked at before it is used.
"""

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path

from bottleneck.errors import CacheError, one_line
from bottleneck.shard import COMPRESSIONS, DTYPES
from bottleneck.spec import Source, Spec

FORMAT = "bottleneck-cache"
FORMAT_VERSION = 1

RESTORE = "restore it from a copy, or extract into a new directory"


@dataclass(frozen=True)
class Layout:
    """How codes are laid down; decides no number but float16's rounding.

    Attributes
    ----------
    dtype : str
        One of `bottleneck.shard.DTYPES`.
    shard_size : int
        Rows of a shard, at least 1.
    compression : str
        Of the codes: one of `bottleneck.shard.COMPRESSIONS`.

    Raises
    ------
    ValueError
        A value is none of these.
    """

    dtype: str
    shard_size: int
    compression: str = "none"  # what a cache has that was planned before there was a choice

    def __post_init__(self) -> None:
        if self.dtype not in DTYPES or self.compression not in COMPRESSIONS:
            raise ValueError(
                f"no layout has {self.dtype!r} codes, compressed by {self.compression!r}"
            )
        if type(self.shard_size) is not int or self.shard_size < 1:
            raise ValueError(f"no shard has {self.shard_size!r} rows")


def manifest_text(spec: Spec, layout: Layout, source: Source) -> str:
    """What stands in ``spec.json``."""
    manifest = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "spec": spec.to_json(),
        "spec_digest": spec.digest(),
        "layout": dataclasses.asdict(layout),
        "source": dataclasses.asdict(source),
    }
    return json.dumps(manifest, indent=2) + "\n"


def parse_manifest(path: Path, text: bytes) -> tuple[Spec, Layout, Source]:
    """Read what stands in ``spec.json``.

    Parameters
    ----------
    path : Path
        The cache, for messages.
    text : bytes

    Raises
    ------
    CacheError
        It is of another format, damaged, or was edited.
    """
    try:
        manifest = json.loads(text)
        if (manifest["format"], manifest["format_version"]) != (FORMAT, FORMAT_VERSION):
            raise CacheError(
                f"{path}: spec.json has format {manifest['format']!r} version "
                f"{manifest['format_version']!r}; this program reads {FORMAT!r} {FORMAT_VERSION}"
            )
        spec = Spec.from_json(manifest["spec"])
        layout, source = Layout(**manifest["layout"]), Source(**manifest["source"])
        digest = manifest["spec_digest"]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise CacheError(f"{path}: spec.json is damaged ({one_line(error)}): {RESTORE}") from error
    if digest != spec.digest():
        raise CacheError(
            f"{path}: spec.json was edited, its digest is not that of its spec: {RESTORE}"
        )
    return spec, layout, source
