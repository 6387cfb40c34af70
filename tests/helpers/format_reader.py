"""Read caches and heads by the rules of docs/format.md, in its order, without the package."""

import csv
import hashlib
import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


_ESCAPES = {
    '"': '\\"',
    "\\": "\\\\",
    "\b": "\\b",
    "\t": "\\t",
    "\n": "\\n",
    "\f": "\\f",
    "\r": "\\r",
}


def strict_json(value: Any, between: str = ", ", colon: str = ": ") -> str:
    if isinstance(value, str):
        return f'"{"".join(_escaped(character) for character in value)}"'
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, (int, float)):
        return repr(value)
    if isinstance(value, list):
        return f"[{between.join(strict_json(item, between, colon) for item in value)}]"
    assert isinstance(value, dict)
    pairs = [
        f"{strict_json(key)}{colon}{strict_json(value[key], between, colon)}"
        for key in sorted(value)
    ]
    return f"{{{between.join(pairs)}}}"


def _escaped(character: str) -> str:
    code = ord(character)
    if character in _ESCAPES:
        return _ESCAPES[character]
    if 0x20 <= code <= 0x7E:
        return character
    if code <= 0xFFFF:
        return f"\\u{code:04x}"
    high, low = divmod(code - 0x10000, 0x400)
    return f"\\u{0xD800 + high:04x}\\u{0xDC00 + low:04x}"


def layer_text(plan: dict[str, Any], layer: str, view: int = 0) -> str:
    kept = {
        key: value
        for key, value in plan["spec"]["preprocess"].items()
        if (key, value) not in (("fit", "crop"), ("range", None))
    }
    identity = {"layer": layer, "spec": plan["spec"] | {"preprocess": kept}}
    if view:
        identity["view"] = plan["views"][0] | {"number": view}
    return strict_json(identity, ",", ":")


def layer_digest(plan: dict[str, Any], layer: str, view: int = 0) -> str:
    return sha256(layer_text(plan, layer, view).encode("ascii"))


def encoded(layer: str) -> str:
    plain_bytes = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-~"
    return "".join(chr(b) if b in plain_bytes else f"%{b:02X}" for b in layer.encode("utf-8"))


def read_csv(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8", errors="surrogateescape") as file:
        return list(csv.DictReader(file))


def read_text(dataset: Any) -> list[str]:
    return [value.decode("utf-8", errors="surrogateescape") for value in dataset[...]]


@dataclass(frozen=True)
class Reading:
    """One layer of a cache: codes are NaN where no shard is done."""

    codes: NDArray[np.float32]
    usable: NDArray[np.bool_]
    types: list[str]


class Reader:
    def __init__(self, cache: Path) -> None:
        self.cache = cache
        self.plan = json.loads((cache / "spec.json").read_text(encoding="utf-8"))
        assert self.plan["format"] == "bottleneck-cache"
        self.version = self.plan["format_version"]
        assert self.version in (2, 3)
        for recipe in self.plan["views"] if self.version == 3 else []:
            assert recipe["rule"] == "sha256-1"
        assert len(self.plan.get("views", [])) <= 1
        assert self.plan["spec_digest"] == layer_digest(self.plan, "")
        assert self.plan["sha256"] == plan_digest(self.plan)
        first, rows = (cache / "images.csv").read_bytes().split(b"\r\n", 1)
        assert first.endswith(f",sha256:{sha256(rows)}".encode("ascii"))
        self.images = read_csv(cache / "images.csv")

    def shards(self, layer: str, view: int = 0) -> Iterator[tuple[range, Path]]:
        size = self.plan["layout"]["shard_size"]
        for k in range(math.ceil(len(self.images) / size)):
            rows = range(k * size, min((k + 1) * size, len(self.images)))
            folder = [str(k // 1000)] if k >= 1000 else []
            name = f"{str(k).zfill(5)}.h5"
            series = encoded(layer) + (f"@{view}" if view else "")
            yield rows, self.cache.joinpath("codes", series, *folder, name)

    def done(self, layer: str, view: int = 0) -> Iterator[tuple[range, Any]]:
        for rows, path in self.shards(layer, view):
            if not path.exists():
                continue
            header = read_envelope(path, b"bottleneck-shard %d" % self.version)
            if header is None or not self._is_of(header, layer, view, rows) or self._unsure(rows):
                continue
            if self._lacks_an_image(header, rows):
                continue
            assert header["sha256"] == sha256(path.read_bytes().split(b"\n", 2)[2])
            with h5py.File(path, "r", locking=False) as shard:
                known = (shard.attrs["format"], int(shard.attrs["format_version"]))
                assert known == ("bottleneck-shard", self.version)
                assert shard.attrs["spec"] == layer_text(self.plan, layer, view)
                assert shard.attrs["spec_digest"] == layer_digest(self.plan, layer, view)
                assert tuple(header["shape"]) == shard["codes"].shape
                assert header["dtype"] == shard["codes"].dtype.name
                reasons = read_text(shard["reason"])
                assert header["rejected"] == {
                    str(i): reasons[i] for i in np.flatnonzero(~shard["valid"][...]).tolist()
                }
                yield rows, shard

    def _is_of(self, header: dict[str, Any], layer: str, view: int, rows: range) -> bool:
        manifest = header["manifest"]
        names = ("spec", "identity", "views") if view else ("spec", "identity")
        return (
            header["layer"] == layer
            and (self.version == 2 or header["view"] == view)
            and all(manifest[name] == self.plan[name] for name in names)
            and (header["start"], header["shape"][0]) == (rows.start, len(rows))
        )

    def _unsure(self, rows: range) -> bool:
        images = [self.images[row] for row in rows]
        return any(int(i["size"]) >= 0 and int(i["mtime_ns"]) == -1 for i in images)

    def _lacks_an_image(self, header: dict[str, Any], rows: range) -> bool:
        removed = "removed: it is no longer among the images"
        gone = [rows[int(i)] for i, why in header["rejected"].items() if why == removed]
        return any(int(self.images[row]["size"]) >= 0 for row in gone)

    def read(self, layer: str, view: int = 0) -> Reading:
        types: list[str] = []
        reading: Reading | None = None
        for rows, shard in self.done(layer, view):
            codes, row, valid = (shard[name][...] for name in ("codes", "row", "valid"))
            assert row.tolist() == list(rows)
            if self.version == 2:
                assert shard.attrs["codes_sha256"] == codes_digest(codes)
                assert shard.attrs["rows_sha256"] == rows_digest(shard)
            assert read_text(shard["path"]) == [self.images[i]["path"] for i in row]
            if reading is None:
                shape = (len(self.images), *codes.shape[1:])
                usable = np.zeros(len(self.images), dtype=bool)
                reading = Reading(np.full(shape, np.nan, dtype=np.float32), usable, types)
            reading.codes[row] = codes
            there = np.array([int(self.images[i]["size"]) != -1 for i in row])
            reading.usable[row] = valid & there
            types.append(codes.dtype.name)
        assert reading is not None
        return reading


def plan_digest(plan: dict[str, Any]) -> str:
    rest = {key: value for key, value in plan.items() if key != "sha256"}
    return sha256(strict_json(rest, ",", ":").encode("ascii"))


def read_envelope(path: Path, kind: bytes) -> dict[str, Any] | None:
    """Return the header of a file whose envelope is intact."""
    lines = path.read_bytes().split(b"\n", 2)
    if len(lines) != 3 or lines[0] != b"%s %s" % (kind, sha256(lines[1] + b"\n").encode()):
        return None
    header: dict[str, Any] = json.loads(lines[1])
    return header if header["bytes"] == path.stat().st_size else None


def codes_digest(codes: NDArray[Any]) -> str:
    head = codes.dtype.name + " " + "x".join(str(length) for length in codes.shape) + "\n"
    little = codes.astype(codes.dtype.newbyteorder("<"))
    return sha256(head.encode("ascii") + little.tobytes(order="C"))


def rows_digest(shard: Any) -> str:
    columns = [shard["row"][...].tolist(), shard["valid"][...].tolist()]
    columns += [read_text(shard[name]) for name in ("path", "label", "reason", "image_sha256")]
    lines = [strict_json(list(row)) + "\n" for row in zip(*columns, strict=True)]
    return sha256("".join(lines).encode("ascii"))


_TYPES = {
    "F64": ("<f8", "torch.float64"),
    "F32": ("<f4", "torch.float32"),
    "I64": ("<i8", "torch.int64"),
}


def read_safetensors(path: Path) -> tuple[dict[str, NDArray[Any]], dict[str, str]]:
    """By safetensors' own page: a length, a JSON header, and the tensors' bytes."""
    data = path.read_bytes()
    start = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:start])
    metadata = header.pop("__metadata__", {})
    tensors = {}
    for name, entry in header.items():
        begin, end = (start + offset for offset in entry["data_offsets"])
        values = np.frombuffer(data[begin:end], dtype=_TYPES[entry["dtype"]][0])
        tensors[name] = values.reshape(entry["shape"])
    return tensors, metadata


def weights_digest(path: Path) -> str:
    names = {np.dtype(little): name for little, name in _TYPES.values()}
    parts = []
    for name, values in sorted(read_safetensors(path)[0].items()):
        shape = "(" + ", ".join(map(str, values.shape)) + ("," if values.ndim == 1 else "") + ")"
        parts += [f"{name} {names[values.dtype]} {shape}\n".encode(), values.tobytes()]
    return sha256(b"".join(parts))


@dataclass(frozen=True)
class Answer:
    margins: NDArray[np.float64]
    probabilities: list[float] | None
    label: str


def answer_by_hand(path: Path, code: NDArray[Any]) -> Answer:
    tensors, metadata = read_safetensors(path)
    head = json.loads(metadata["bottleneck"])
    assert head["format"] == "bottleneck-head"
    assert head["format_version"] in (1, 2)
    assert ("slope" in tensors) == ("offset" in tensors)
    x = code.ravel().astype(np.float64)
    if head["preprocess"] == "sqrt":
        x = np.sign(x) * np.sqrt(np.abs(x))
    if head["preprocess"] in ("standardize", "sqrt"):
        x = (x - tensors["mean"]) / tensors["scale"]
    if head["format_version"] == 1:
        assert isinstance(head["layer"], str)
        layers = [{"size": len(x)}]
    else:
        layers = head["layers"]
        assert (head["views"], head["view_recipe"]) == (1, None)
    start = 0
    for layer in layers:
        part = x[start : start + layer["size"]]
        if head["preprocess"] == "l2" and part.any():
            part /= math.sqrt(float(part @ part))
        part /= math.sqrt(len(layers))
        start += layer["size"]
    assert start == len(x)
    margins = tensors["coef"] @ x + tensors["intercept"]
    named = list(zip(head["classes"], margins.tolist(), strict=True))
    if head["multilabel"]:
        label = "|".join(name for name, margin in named if margin > 0)
    else:
        label = next(name for name, margin in named if margin == max(margins))
    if "slope" not in tensors:
        return Answer(margins, None, label)
    z = (tensors["slope"] * margins + tensors["offset"]).tolist()
    if head["multilabel"]:
        return Answer(margins, [1 / (1 + math.exp(-logit)) for logit in z], label)
    powers = [math.exp(logit - max(z)) for logit in z]
    return Answer(margins, [power / sum(powers) for power in powers], label)
