"""Fixtures: generated photographs, tiny networks, caches made of both."""

import gc
import os
import shutil
import signal
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner, Result
from hypothesis import settings

from bottleneck.cli import main
from tests.helpers.networks import PLAIN, SMALL

if TYPE_CHECKING:
    import torch

    from bottleneck.extraction.result import ExtractionResult
    from bottleneck.fitting.heads.head import Head
    from tests.helpers.fixture_types import Extract, Run

# The process that hands tests out to others reads this file too, and those others begin when it
# has: PyTorch and what needs it are imported by the fixtures.

# How long an example takes depends on what else the machine does; no test measures time.
settings.register_profile("whole", deadline=None, max_examples=200)  # of `make test-all`
settings.register_profile("short", deadline=None, max_examples=20)
settings.load_profile("short")

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

_TINY: dict[str, Any] = {
    "model": PLAIN,
    "layers": ["layer2"],
    "transform": SMALL,
    "dtype": "float32",
    "shard_size": 8,
    "precision": "float32",  # `auto` differs from machine to machine
    "device": "cpu",
}

# Files of tests in the order in which parallel workers begin them: those that take longest first,
# and all others after them. A file stays on one worker, so that what it makes is made once, and
# that no two tests at a time start a Slurm or a cluster.
_LONGEST_FIRST = (
    "integration/test_slurm.py",
    "faults/test_faults.py",
    "fitting/loading/test_dask_matrix.py",
    "test_docs.py",
    "cache/update/test_plan.py",
    "cli/commands/test_extract.py",
    "linear/solver/test_path.py",
    "cache/test_format.py",
    "finetuning/test_tune.py",
    "integration/test_real.py",
    "reporting/test_report.py",
    "backbones/tracing/test_fusion.py",
    "reporting/test_report_browser.py",
    "runtime/executors/test_backends.py",
    "integration/test_cluster.py",
    "cli/commands/test_fit.py",
    "cli/commands/test_tune.py",
    "advising/test_advise.py",
    "exporting/test_export.py",
    "fitting/test_fit.py",
    "fitting/selection/test_cross_validation.py",
    "fitting/test_sweep.py",
    "extraction/test_extract_views.py",
    "fitting/loading/test_sharded_matrix.py",
    "backbones/sources/test_torchvision_models.py",
    "extraction/running/test_distributed.py",
)


def pytest_configure() -> None:
    """Look for no garbage while modules are imported: that takes a sixth of the time of it."""
    gc.disable()
    # A shell lets what it starts in the background ignore interrupts, and that is inherited.
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Import tests without PyTorch's compiler, as the program runs: a third of all that they need.

    This is called in a process that runs tests, and not in one that hands them out.
    """
    from bottleneck.runtime import deferred_compiler, torchvision  # noqa: F401

    with deferred_compiler():
        return (yield)


def pytest_collection_finish() -> None:
    """Look for garbage again, but not among the modules, which stay."""
    gc.freeze()
    gc.enable()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the files that take longest first, each with its tests in their order."""
    rank = {Path(__file__).parent / name: i for i, name in enumerate(_LONGEST_FIRST)}
    assert all(path.exists() for path in rank), "a file of tests was renamed"
    items.sort(key=lambda item: rank.get(item.path, len(rank)))


@pytest.fixture(autouse=True, scope="session")
def state_of_its_own(tmp_path_factory: pytest.TempPathFactory) -> None:
    """What the program remembers of its user is not written into the home of whoever tests it."""
    os.environ["XDG_STATE_HOME"] = str(tmp_path_factory.mktemp("state"))
    for name in _SCHEDULER:  # the tests may be part of a job themselves
        os.environ.pop(name, None)


@pytest.fixture(autouse=True, scope="session")
def nothing_waits_for_the_disk() -> Iterator[None]:
    """What tests write need not survive the machine: waiting for the disk is a tenth of some."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda handle: None)
        yield


@pytest.fixture(autouse=True)
def seeds_fixed() -> Iterator[None]:
    import numpy as np
    import torch

    # `torch.manual_seed` keeps the traceback of its caller for each kind of device there might be.
    torch.default_generator.manual_seed(0)
    np.random.seed(0)
    yield


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what `photos`, `cache` and `head` copy: made once, as it takes a while."""
    from bottleneck.extraction.extract import extract
    from bottleneck.fitting.fit import fit
    from bottleneck.fitting.selection.options import SearchOptions
    from tests.helpers.options import grouped
    from tests.helpers.photographs import COLOURS, write_photographs

    folder = tmp_path_factory.mktemp("template")
    for k, label in enumerate(COLOURS):
        for split, count, seed in (("train", 8, 100 * k), ("val", 4, 100 * k + 50)):
            write_photographs(
                folder / "photos" / split / label, count, label=label, first_seed=seed
            )
    options = grouped(_TINY | {"layers": ["layer2", "layer3"]})
    cache = extract(folder / "photos", folder / "cache", **options).cache
    fit(cache, "softmax", layers="layer2", search=SearchOptions(c=(1.0,))).head.save(
        folder / "head"
    )
    return folder


@pytest.fixture(scope="session")
def viewed(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache of `photos` with layer2 and layer3 in three views; to be read or copied."""
    from bottleneck.extraction.extract import extract
    from tests.helpers.options import grouped

    out = tmp_path_factory.mktemp("viewed") / "cache"
    options = grouped(_TINY | {"layers": ["layer2", "layer3"], "count": 3})
    return extract(template / "photos", out, **options).cache.path


@pytest.fixture
def photos(template: Path, tmp_path: Path) -> Path:
    """Three classes, split into train (8 each) and val (4 each)."""
    return Path(shutil.copytree(template / "photos", tmp_path / "photos"))


@pytest.fixture
def extract_tiny(tmp_path: Path) -> "Extract":
    """`extract` with a tiny network, small images and small shards, into ``tmp_path/cache``."""
    from bottleneck.extraction.extract import extract
    from tests.helpers.options import grouped

    def run(images: Path, out: Path | None = None, **options: Any) -> "ExtractionResult":
        return extract(images, out or tmp_path / "cache", **grouped(_TINY | options))

    return run


@pytest.fixture
def bfloat16_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    """A processor of which PyTorch says that it has bfloat16; where it has not, it is slow."""
    import torch

    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: True)


@pytest.fixture
def float32_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    """A processor of which PyTorch says that it has no bfloat16."""
    import torch

    for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"):
        monkeypatch.setattr(torch.cpu, name, lambda: False)


@pytest.fixture
def gpu() -> "Iterator[torch.device]":
    """A GPU; one that is simulated where there is none."""
    import torch

    if torch.cuda.is_available():
        yield torch.device("cuda:0")
        return
    from tests.helpers.simulated_gpus import simulated_gpus

    with simulated_gpus() as (device,):
        yield device


@pytest.fixture
def cpu_decodes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """A CPU in place of a GPU that decodes JPEGs: all of a batch or none; the batches' sizes."""
    import torch

    sizes: list[int] = []

    def decode(encoded: "list[torch.Tensor]", device: torch.device) -> "list[torch.Tensor]":
        assert device.type == "cpu"
        sizes.append(len(encoded))
        return [torch.ops.image.decode_jpeg(data, 3) for data in encoded]  # 3: as RGB

    monkeypatch.setattr("bottleneck.data.decoding.nvjpeg._nvjpeg", decode)
    return sizes


@pytest.fixture
def cache(template: Path, photos: Path, tmp_path: Path) -> Path:
    """A finished cache of `photos` with the layers layer2 and layer3."""
    return Path(shutil.copytree(template / "cache", tmp_path / "cache"))


@pytest.fixture
def head(template: Path) -> "Head":
    """A softmax head on layer2 of `cache`."""
    from bottleneck.fitting.heads.head import Head

    return Head.load(template / "head")


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> "Run":
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
