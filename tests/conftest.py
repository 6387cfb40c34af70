"""Fixtures: generated photographs, tiny networks, caches made of both."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result

from bottleneck.cli import main
from bottleneck.extraction.extract import extract
from bottleneck.extraction.result import ExtractionResult
from bottleneck.fitting.fit import fit
from bottleneck.fitting.head import Head
from bottleneck.fitting.options import SearchOptions
from tests.helpers.fixture_types import Extract, Run
from tests.helpers.networks import PLAIN, SMALL
from tests.helpers.options import grouped
from tests.helpers.photographs import COLOURS, write_photographs

_SCHEDULER = (
    "SLURM_ARRAY_TASK_ID",
    "SGE_TASK_ID",
    "LSB_JOBINDEX",
    "PBS_ARRAY_INDEX",
    "JOB_COMPLETION_INDEX",
    "RANK",
    "SLURM_PROCID",
    "OMPI_COMM_WORLD_RANK",
    "OMP_NUM_THREADS",
)


@pytest.fixture(autouse=True, scope="session")
def state_of_its_own(tmp_path_factory: pytest.TempPathFactory) -> None:
    """What the program remembers of its user is not written into the home of whoever tests it."""
    os.environ["XDG_STATE_HOME"] = str(tmp_path_factory.mktemp("state"))
    for name in _SCHEDULER:  # the tests may be part of a job themselves
        os.environ.pop(name, None)


@pytest.fixture(autouse=True)
def seeds_fixed() -> Iterator[None]:
    torch.manual_seed(0)
    np.random.seed(0)
    yield


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Three classes, split into train (8 each) and val (4 each)."""
    root = tmp_path / "photos"
    for k, label in enumerate(COLOURS):
        write_photographs(root / "train" / label, 8, label=label, first_seed=100 * k)
        write_photographs(root / "val" / label, 4, label=label, first_seed=100 * k + 50)
    return root


@pytest.fixture
def extract_tiny(tmp_path: Path) -> Extract:
    """`extract` with a tiny network, small images and small shards, into ``tmp_path/cache``."""

    def run(images: Path, out: Path | None = None, **options: Any) -> ExtractionResult:
        defaults: dict[str, Any] = {
            "model": PLAIN,
            "layers": ["layer2"],
            "transform": SMALL,
            "dtype": "float32",
            "shard_size": 8,
            "precision": "float32",  # `auto` differs from machine to machine
            "device": "cpu",
        }
        return extract(images, out or tmp_path / "cache", **grouped(defaults | options))

    return run


@pytest.fixture
def cache(photos: Path, extract_tiny: Extract) -> Path:
    """A finished cache of `photos` with the layers layer2 and layer3."""
    return extract_tiny(photos, layers=["layer2", "layer3"]).cache.path


@pytest.fixture
def head(cache: Path) -> Head:
    """A softmax head on layer2 of `cache`."""
    return fit(cache, "softmax", layers="layer2", search=SearchOptions(c=(1.0,))).head


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """The command line in an empty working directory; arguments may be paths."""
    monkeypatch.chdir(tmp_path)

    def invoke(*arguments: object) -> Result:
        return CliRunner().invoke(main, [str(argument) for argument in arguments])

    return invoke


@pytest.fixture
def real() -> Path:
    """The folder of real photographs and weights, or a skip."""
    folder = os.environ.get("BOTTLENECK_REAL")
    if not folder:
        pytest.skip("BOTTLENECK_REAL does not name a folder of photographs and weights")
    return Path(folder)
