"""Archives, tables and arrays of images, made by other libraries than those that read them."""

import io
import json
import tarfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from PIL import Image

from tests.helpers.image_files import encode, noise

IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def picture(seed: int, *shape: int) -> NDArray[Any]:
    """Random pixels of 20 × 24, or of a shape."""
    return noise(*(shape or (20, 24, 3)), seed=seed)


def png(seed: int) -> bytes:
    return encode(Image.fromarray(picture(seed)), "PNG")


def write_tar(path: Path, members: Mapping[str, bytes], **options: Any) -> Path:
    """An archive of these files, in this order, by Python's own module."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w", **options) as archive:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


def shard(keys: Iterable[int], *, split: str = "") -> dict[str, bytes]:
    """The members of a shard as WebDataset writes them: an image, its class, and an object."""
    members = {}
    for key in keys:
        members[f"{key:04d}.cls"] = str(key % 3).encode()
        members[f"{key:04d}.png"] = png(key)
        if split:
            members[f"{key:04d}.json"] = json.dumps({"split": split, "width": 24}).encode()
    return members


def huggingface(**features: Any) -> dict[bytes, bytes]:
    """The metadata in which Hugging Face's datasets describe their columns."""
    return {b"huggingface": json.dumps({"info": {"features": features}}).encode()}


def class_label(*names: str) -> dict[str, Any]:
    return {"names": list(names), "_type": "ClassLabel"}


def write_parquet(
    path: Path,
    columns: Mapping[str, Any],
    *,
    types: Mapping[str, Any] | None = None,
    metadata: dict[bytes, bytes] | None = None,
    group: int = 4,
) -> Path:
    """A table whose images are a struct, in row groups of a few rows."""
    path.parent.mkdir(parents=True, exist_ok=True)
    known = {"image": IMAGE, "label": pa.int64(), **(types or {})}
    arrays = {name: pa.array(values, known.get(name)) for name, values in columns.items()}
    table = pa.table(arrays).replace_schema_metadata(metadata)
    pq.write_table(table, path, row_group_size=group)
    return path


def image_values(seeds: Iterable[int], *, path: str | None = "{:03d}.png") -> list[dict[str, Any]]:
    return [{"bytes": png(seed), "path": path.format(seed) if path else None} for seed in seeds]


def medmnist(n: Mapping[str, int], *shape: int) -> dict[str, Any]:
    """The arrays of MedMNIST: images of some splits, and their labels as a column."""
    arrays: dict[str, Any] = {}
    for i, (split, count) in enumerate(n.items()):
        arrays[f"{split}_images"] = picture(i, count, *(shape or (28, 28)))
        arrays[f"{split}_labels"] = (np.arange(count, dtype=np.uint8) % 3)[:, None]
    return arrays
