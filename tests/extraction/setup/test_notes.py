from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from bottleneck.extraction.plan import plan
from tests.helpers.fixture_types import Extract
from tests.helpers.networks import PLAIN, SMALL
from tests.helpers.options import grouped


def test_a_plan_notes_what_an_extraction_notes(tmp_path: Path, extract_tiny: Extract) -> None:
    for label, value in (("dark", 300), ("darker", 200)):
        folder = tmp_path / "scans" / label
        folder.mkdir(parents=True)
        Image.fromarray(np.full((40, 40), value, np.uint16)).save(folder / "0.png")
    options: dict[str, Any] = {"layers": ["layer3"], "count": 2}
    done = extract_tiny(tmp_path / "scans", **options)
    known = {"model": PLAIN, "transform": SMALL, "device": "cpu", "precision": "float32"}
    found = plan(tmp_path / "scans", **grouped(known | options))
    assert found.notes == done.notes
    assert [note.split(":")[0] for note in found.notes] == ["WARNING", "views of each image"]


@pytest.mark.parametrize("mean", [(0.5, 1.0, 0.0), (123.675, 116.28, 103.53)])
def test_a_mean_on_the_scale_of_bytes_is_warned_of(
    photos: Path, extract_tiny: Extract, mean: tuple[float, ...]
) -> None:
    notes = extract_tiny(photos, transform=SMALL | {"mean": mean}).notes
    expected = "WARNING: `mean` is 123.675,116.28,103.53, and pixels are from 0 to 1: on that scale"
    assert [note.startswith(f"{expected} it is 0.485,0.456,0.406") for note in notes] == (
        [True] if mean[0] > 1 else []
    )
