from pathlib import Path

import pytest

from bottleneck.backbones.layers.layer import Layer
from bottleneck.cache.format.series import Series
from bottleneck.cache.store import open_cache
from bottleneck.errors import CacheError, WorkerError
from bottleneck.extraction.planning import shard_memory
from bottleneck.extraction.planning.shard_memory import require_shard_memory
from tests.helpers.executors import Elsewhere
from tests.helpers.fixture_types import Extract

MAPS = Layer("maps", "maps", 0, (4, 8, 8), False, 0.5)


def free(monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    monkeypatch.setattr(shard_memory, "available_memory", lambda: size)


@pytest.mark.parametrize(
    ("shards", "views", "times"), [([4], 1, 3 * 4), ([1], 1, 3 * 8), ([0, 1], 2, (2 * 2 + 2) * 8)]
)
def test_a_shard_takes_some_times_its_codes_in_float32(
    cache: Path, monkeypatch: pytest.MonkeyPatch, shards: list[int], views: int, times: int
) -> None:
    """36 rows in shards of 8, the last with 4."""
    series = tuple(Series("maps@none", view) for view in range(views))
    needed = times * 4 * 8 * 8 * 4
    asked = (open_cache(cache), [MAPS.pooled("none")], {series: shards})
    free(monkeypatch, needed)
    require_shard_memory(*asked)
    free(monkeypatch, needed - 1)
    with pytest.raises(CacheError, match=r"at maps@none.* takes .*`shard_size`"):
        require_shard_memory(*asked)


def test_maps_that_do_not_fit_into_memory_leave_the_cache_as_it_was(
    cache: Path, photos: Path, extract_tiny: Extract, monkeypatch: pytest.MonkeyPatch
) -> None:
    free(monkeypatch, 10_000)
    with pytest.raises(CacheError, match="the codes of 8 images: at layer1@none it takes"):
        extract_tiny(photos, cache, layers=["layer1@none"])
    assert open_cache(cache).layers == ["layer2", "layer3"]
    with pytest.raises(WorkerError, match="node7"):  # of whose memory nothing is known here
        extract_tiny(photos, cache, layers=["layer1@none"], executor=Elsewhere())
    assert extract_tiny(photos, cache, layers=["layer1@none"], force=True).rows == 36
