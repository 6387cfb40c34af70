"""Bytes that were changed at random, given to whatever opens heads, caches, shards and images."""

import argparse
import json
import random
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

from bottleneck.backbones.checkpoints.loading import load_weights
from bottleneck.cache.format.manifest import COMPRESSIONS
from bottleneck.cache.format.shard import read_header
from bottleneck.cache.format.shard_writer import write_shard
from bottleneck.cache.recovery import recover_cache
from bottleneck.cache.store import open_cache
from bottleneck.errors import CacheError, HeadError, ShardError, WeightsError
from bottleneck.fitting.fit import fit
from bottleneck.fitting.heads.head import Head
from bottleneck.fitting.selection.options import SearchOptions
from tests.faults.trial import Workshop, copy
from tests.helpers.classifier_files import rewrite
from tests.helpers.forked import fork
from tests.helpers.image_files import FILES, image_or_error, mutated
from tests.helpers.shards import forge, read_shard, verify_shard
from tests.helpers.tiny_networks import plain

_A_BATCH = 50  # forged shards in one process, which may not live through all of them


def images(workshop: Workshop, seed: int, count: int) -> int:
    """Files of every format: pixels, or an error of one line."""
    choose = random.Random(seed)
    for _ in range(count):
        data = FILES[choose.choice(sorted(FILES))]
        image_or_error(mutated(data, choose.randrange(1 << 32), choose.randint(1, 6)))
    return count


def heads(workshop: Workshop, seed: int, count: int) -> int:
    """`Head.load` without a digest: a head that makes sense, or an error of one line."""
    path = workshop.place / f"head {seed}.safetensors"
    fit(
        workshop.reference, "softmax", layers="layer2", search=SearchOptions(c=[1.0], cv=2)
    ).head.save(path)

    def load(changed: Path) -> None:
        head = Head.load(changed)
        assert np.isfinite(head.decision_function(np.ones((1, head.coef.shape[1])))).any()

    return _mutate(rewrite(path), load, HeadError, seed, count)


def weights(workshop: Workshop, seed: int, count: int) -> int:
    """`load_weights`: a network of the same shapes, or an error of one line."""
    network = plain()
    before = {name: value.shape for name, value in network.state_dict().items()}

    def load(changed: Path) -> None:
        loaded = load_weights(network, changed, model="plain")
        assert not any("\n" in text for text in loaded.notes)
        assert {name: value.shape for name, value in network.state_dict().items()} == before

    torch.save(network.state_dict(), workshop.place / "weights.pth")
    torch.save(_as_checkpoint(network.state_dict()), workshop.place / "last.ckpt")
    torch.save(
        network.state_dict(), workshop.place / "old.pth", _use_new_zipfile_serialization=False
    )
    save_file(network.state_dict(), workshop.place / "weights.safetensors")
    files = ("weights.pth", "last.ckpt", "old.pth", "weights.safetensors")
    for name in files:
        _mutate(workshop.place / name, load, WeightsError, seed, count // len(files))
    return count // len(files) * len(files)


def _as_checkpoint(state: dict[str, Tensor]) -> dict[str, Any]:
    """As a training script saves it: wrapped, beside an average and settings."""
    wrapped = {f"module.{name}": value for name, value in state.items()}
    args = argparse.Namespace(lr=0.1, out=Path("runs"))
    return {"state_dict": wrapped, "model_ema": state, "args": args, "best": np.float64(0.9)}


def caches(workshop: Workshop, seed: int, count: int) -> int:
    """`open_cache`: whatever was changed in its two small files is refused."""
    cache = copy(workshop.reference, workshop.place / f"fuzzed {seed}")
    for name in ("spec.json", "images.csv"):
        whole = (cache / name).read_bytes()

        def load(changed: Path, name: str = name) -> None:
            shutil.copy(changed, cache / name)
            open_cache(cache)

        _mutate(workshop.reference / name, load, CacheError, seed, count // 4)
        _mutate(workshop.reference / name, load, CacheError, seed, count // 4, digest=True)
        (cache / name).write_bytes(whole)
    assert recover_cache(cache).lost == {}
    shutil.rmtree(cache)
    return count


def shards(workshop: Workshop, seed: int, count: int) -> int:
    """`OpenShard.verify`, without which nothing is read: it refuses every change."""
    path = workshop.reference / "codes" / "layer2" / "00000.h5"

    def load(changed: Path) -> None:
        verify_shard(changed)
        raise AssertionError("a changed shard passed for a whole one")

    return _mutate(path, load, ShardError, seed, count)


def forged_shards(workshop: Workshop, seed: int, count: int) -> tuple[int, int]:
    """Read forged shards in processes of their own; return how many, and how many crashed.

    What reads them is HDF5's own code, so whoever forges a shard may stop the process that reads
    it; nothing else.
    """
    crashed = 0
    for turn in range(count // _A_BATCH):
        child = fork(_read_forged, workshop.place, seed + turn)
        child.join(300)
        assert child.exitcode is not None, "it hangs"
        assert child.exitcode <= 0, f"seed {seed + turn}"
        crashed += child.exitcode < 0
    return count // _A_BATCH * _A_BATCH, crashed


def _read_forged(place: Path, seed: int) -> None:
    import resource

    limit = 16 << 30  # of addresses: a process that would take more gets an error
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    choose = random.Random(seed)
    whole = place / "reference" / "codes" / "layer2" / "00000.h5"
    shard, header = read_shard(whole), read_header(whole)
    path = place / f"forged {seed}.h5"
    for _ in range(_A_BATCH):
        layout = replace(header.manifest.layout, compression=choose.choice(COMPRESSIONS))
        write_shard(
            path, shard, manifest=replace(header.manifest, layout=layout), series=header.layer
        )
        forge(
            path, body=lambda data: mutated(data, choose.randrange(1 << 32), choose.randint(1, 3))
        )
        try:
            read_shard(path)
        except ShardError as error:
            assert "\n" not in str(error)
    path.unlink()


def _mutate(
    path: Path,
    load: Callable[[Path], None],
    error: type[Exception],
    seed: int,
    count: int,
    *,
    digest: bool = False,
) -> int:
    whole, choose = path.read_bytes(), random.Random(seed)
    with tempfile.TemporaryDirectory() as name:
        changed = Path(name) / path.name
        for _ in range(count):
            data = mutated(whole, choose.randrange(1 << 32), choose.randint(1, 4))
            if data == whole:
                continue
            changed.write_bytes(_with_digest(path.name, data) if digest else data)
            try:
                load(changed)
            except error as refused:
                assert "\n" not in str(refused)
    return count


def _with_digest(name: str, data: bytes) -> bytes:
    """The same with the digest that whoever forged it would have put there."""
    if name == "images.csv":
        first, _, rest = data.partition(b"\r\n")
        return (
            first[: first.rfind(b"sha256:")]
            + b"sha256:%s\r\n" % sha256(rest).hexdigest().encode()
            + rest
        )
    try:
        values = json.loads(data)
        values.pop("sha256", None)
    except (ValueError, AttributeError, RecursionError):
        return data
    text = json.dumps(values, sort_keys=True, separators=(",", ":"))
    return json.dumps({**values, "sha256": sha256(text.encode()).hexdigest()}).encode()
