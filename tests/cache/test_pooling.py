"""Averages of maps, beside what extraction gives when it averages them itself."""

from pathlib import Path

import numpy as np
import pytest
from torch import Tensor, nn

from bottleneck.cache import pooled
from tests.helpers.fixture_types import Extract

SHAPES = {"map": (6, 8, 8), "last": (8, 8, 6), "tokens": (64, 6), "vector": (6,)}


class Layouts(nn.Module):
    """Codes in each layout that networks have."""

    def __init__(self) -> None:
        super().__init__()
        self.map = nn.Conv2d(3, 6, 4, 4)
        self.last, self.tokens, self.vector = nn.LayerNorm(6), nn.LayerNorm(6), nn.LayerNorm(6)

    def forward(self, x: Tensor) -> Tensor:
        x = self.last(self.map(x).permute(0, 2, 3, 1))
        x = self.tokens(x.flatten(1, 2))
        out: Tensor = self.vector(x.mean(1))
        return out


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_maps_are_read_as_extraction_would_have_averaged_them(
    photos: Path, extract_tiny: Extract, tmp_path: Path, dtype: str
) -> None:
    network = Layouts().eval()
    maps, averages = (
        extract_tiny(
            photos, tmp_path / pool, model=network, layers=list(SHAPES), pool=pool, dtype=dtype
        ).cache
        for pool in ("none", "avg")
    )
    rows = np.array([0, 3, 8, 9, 30])
    view = pooled(maps)
    for layer, shape in SHAPES.items():
        assert maps.finished_shards(layer)[0].shape == (8, *shape)
        assert view.finished_shards(layer)[0].shape == (8, 6)
        expected = averages.read_codes(layer, rows)
        np.testing.assert_allclose(view.read_codes(layer, rows), expected, rtol=2e-3, atol=1e-5)
        blocks = np.concatenate(list(view.read_blocks(layer, 1, 3, verify=True)))
        np.testing.assert_array_equal(blocks[:2], view.read_codes(layer, rows[2:4]))


def test_maps_beside_codes_are_averaged_alone(photos: Path, extract_tiny: Extract) -> None:
    both = extract_tiny(photos, layers=["layer2"], pool=["avg", "2", "none"], dtype="float32").cache
    view, rows = pooled(both), np.array([0, 3, 30])
    for layer in ("layer2", "layer2@2x2"):
        np.testing.assert_array_equal(view.read_codes(layer, rows), both.read_codes(layer, rows))
    averages = both.read_codes("layer2", rows)
    np.testing.assert_allclose(view.read_codes("layer2@none", rows), averages, rtol=1e-5, atol=1e-6)


def test_a_grid_of_averages_stays(photos: Path, extract_tiny: Extract) -> None:
    grid = extract_tiny(photos, pool="2").cache
    assert pooled(grid) is grid
