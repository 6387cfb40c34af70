"""What the tests of the commands share."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from click.testing import Result
from numpy.typing import NDArray
from PIL import Image
from safetensors import safe_open

from bottleneck.extraction.extract import extract
from bottleneck.extraction.options import ComputeOptions, StorageOptions
from tests.helpers.networks import PLAIN, SMALL
from tests.helpers.photographs import as_torchvision, write_photographs
from tests.helpers.tiny_networks import plain

# The options that `conftest.extract_tiny` stands for: the same spec, and so the same cache.
TINY = (
    *("--model", PLAIN, "--layer", "layer2", "--resize", "32", "--crop", "32"),
    *("--precision", "float32"),
)


def edit_table(cache: Path, change: Callable[[list[bytes]], list[bytes]]) -> None:
    """Change the rows of a cache's table of images, and its digest as whoever may do so would."""
    path = cache / "images.csv"
    first, *rows = path.read_bytes().splitlines(keepends=True)
    text = b"".join(change(rows))
    digest = f"sha256:{sha256(text).hexdigest()}\r\n".encode()
    path.write_bytes(first[: first.index(b"sha256:")] + digest + text)


def relabel(rows: list[bytes]) -> list[bytes]:
    """Bees are green and bright."""
    return [row.replace(b",bees,", b",green|bright,") for row in rows]


# A module that says `made, photos, cache = cli.made, cli.photos, cli.cache` makes the images and
# the cache once, and gives each test a copy of its own.


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the photographs and the finished cache that tests get copies of."""
    folder = tmp_path_factory.mktemp("made")
    for split, count, seed in (("train", 8, 0), ("val", 4, 50)):
        for k, label in enumerate(("ants", "bees", "wasps")):
            place = folder / "photos" / split / label
            write_photographs(place, count, label=label, first_seed=100 * k + seed)
    tiny_cache(folder / "photos", folder / "cache", "layer2", "layer3")
    return folder


@pytest.fixture
def photos(made: Path, tmp_path: Path) -> Path:
    """Three classes, split into train (8 each) and val (4 each)."""
    return Path(shutil.copytree(made / "photos", tmp_path / "photos"))


@pytest.fixture
def cache(made: Path, photos: Path, tmp_path: Path) -> Path:
    """A finished cache of `photos` with the layers layer2 and layer3."""
    return Path(shutil.copytree(made / "cache", tmp_path / "cache"))


def tiny_cache(images: Path, out: Path, *layers: str) -> Path:
    """A cache of the spec of `TINY`, float32, in shards of eight rows."""
    extract(
        images,
        out,
        model=PLAIN,
        layers=layers,
        transform=SMALL,
        storage=StorageOptions(dtype="float32", shard_size=8),
        compute=ComputeOptions(precision="float32", device="cpu"),
    )
    return out


def process(*arguments: object, cwd: Path) -> "subprocess.CompletedProcess[str]":
    """The program in a process of its own."""
    return subprocess.run(
        program(*arguments), cwd=cwd, capture_output=True, text=True, timeout=120, check=False
    )


def program(*arguments: object) -> list[str]:
    """The command line that starts the program with this Python."""
    start = "from bottleneck.cli import main; main(prog_name='bottleneck')"
    return [sys.executable, "-c", start, *map(str, arguments)]


def refused(result: Result, *parts: object, code: int = 1) -> None:
    """The command failed as it should: one line of error that holds all parts, nothing else.

    What was found among the images may have been said before it.
    """
    assert isinstance(result.exception, SystemExit), f"a traceback: {result.exception!r}"
    assert result.exit_code == code, result.output
    assert result.stdout == ""
    lines = result.stderr.splitlines()
    if lines and re.match(r"\d+ images?\b", lines[0]):
        lines = lines[1:]
    if lines and lines[0].startswith("labels from "):
        lines = lines[2:]
    if lines and lines[0].startswith("Usage: "):  # click's usage, hint and empty line
        assert code == 2
        lines = lines[lines.index("") + 1 :]
    assert len(lines) == 1, result.stderr
    assert lines[0].lower().startswith("error: ")
    for part in parts:
        assert str(part) in lines[0], f"{part!s} is not in: {lines[0]}"


def contents(folder: Path) -> dict[str, str]:
    """Everything below a folder: the digest of each file, nothing for folders."""
    return {
        path.relative_to(folder).as_posix(): sha256(path.read_bytes()).hexdigest()[:16]
        if path.is_file()
        else ""
        for path in sorted(folder.rglob("*"))
    }


def stored(cache: Path, layer: str = "layer2", name: str = "codes") -> NDArray[Any]:
    """A data set over all finished shards of a layer, read with h5py alone."""
    parts = []
    for shard in sorted((cache / "codes" / layer).glob("*.h5")):
        with h5py.File(shard) as file:
            parts.append(file[name][...])
    return np.concatenate(parts)


def expected_codes(images: Sequence[Path]) -> NDArray[np.float32]:
    """Codes of `TINY`, from torch and torchvision alone."""
    torch.manual_seed(0)
    network = plain().eval()
    pixels = []
    for path in images:
        with Image.open(path) as image:
            pixels.append(as_torchvision(image.convert("RGB"), resize=32, crop=32))
    with torch.inference_mode():
        maps = network.get_submodule("layer2")(network.get_submodule("layer1")(torch.stack(pixels)))
    codes: NDArray[np.float32] = maps.mean((2, 3)).numpy()
    return codes


def margins(head: Path, codes: NDArray[Any]) -> tuple[list[str], NDArray[np.float64]]:
    """A head's classes and their linear scores, from the numbers in its file alone."""
    with safe_open(head, framework="numpy") as file:
        classes: list[str] = json.loads(file.metadata()["bottleneck"])["classes"]
        coef, intercept, mean, scale = map(file.get_tensor, ("coef", "intercept", "mean", "scale"))
    scores: NDArray[np.float64] = (codes - mean) / scale @ coef.T + intercept
    return classes, scores


class Trap:
    """Pickled, it makes a folder wherever it is loaded."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return os.mkdir, (str(self.folder),)
