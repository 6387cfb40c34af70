"""All hostile files in one extraction: every one ends as a row, and harms no other."""

import csv
import resource
import shutil
import time
from pathlib import Path

import h5py
import numpy as np
import pytest

from bottleneck.data.images import open_images
from tests.helpers.fixture_types import Extract
from tests.helpers.hostile import Hostile, write_corpus

LIMIT = 120  # seconds; it takes some


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Hostile]]:
    place = tmp_path_factory.mktemp("hostile")
    return place, write_corpus(place)


def table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8", errors="surrogateescape") as file:
        return list(csv.DictReader(file))


@pytest.mark.filterwarnings("ignore")  # Pillow's, of damaged metadata
def test_every_hostile_file_is_a_code_or_a_named_rejection_and_harms_no_other(
    folder: tuple[Path, list[Hostile]], extract_tiny: Extract, tmp_path: Path
) -> None:
    images, made = folder
    assert len(made) >= 100
    start = time.monotonic()
    done = extract_tiny(images, layers=["layer2"], batch_size=7)
    assert time.monotonic() - start < LIMIT
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < 4 << 20  # KiB
    path = done.cache.path
    rows = [row["path"] for row in table(path / "images.csv")]
    rejected = {row["path"]: row["reason"] for row in table(path / "rejected.csv")}
    expected = {f"hostile/{one.name}": one.readable for one in made}
    assert set(rows) >= set(expected)
    for name, readable in expected.items():
        if readable is not None:
            assert (name not in rejected) == readable, (name, rejected.get(name))
    assert all(reason and "\n" not in reason for reason in rejected.values())

    with h5py.File(path / "codes.h5") as file:
        codes = dict(zip(rows, file["layer2"][...], strict=True))
        valid = dict(zip(rows, file["layer2:valid"][...].tolist(), strict=True))
    assert {name for name, good in valid.items() if not good} == set(rejected)
    assert all(np.isfinite(codes[name]).all() for name, good in valid.items() if good)
    assert not any(codes[name].any() for name in rejected)

    # The good ones by themselves: nothing was harmed. And a name changes no code.
    shutil.copytree(images / "good", tmp_path / "alone" / "good")
    alone = extract_tiny(tmp_path / "alone", tmp_path / "alone.cache", layers=["layer2"]).cache
    for row, name in enumerate(alone.images.path):
        np.testing.assert_allclose(
            codes[name], alone.read_codes("layer2", np.array([row]))[0], rtol=1e-5, atol=1e-6
        )
    same = codes["hostile/format png.jpg"]
    for one in made:
        if one.name.lower().endswith(".png") and not one.name.startswith(
            ("bomb", "no image", "profile", "a line", "much", "format")
        ):
            np.testing.assert_allclose(codes[f"hostile/{one.name}"], same, rtol=1e-5, atol=1e-6)


@pytest.mark.filterwarnings("ignore")
def test_a_second_run_tries_none_of_them_again(
    folder: tuple[Path, list[Hostile]], extract_tiny: Extract
) -> None:
    first = extract_tiny(folder[0], layers=["layer2"])
    again = extract_tiny(folder[0], layers=["layer2"])
    assert again.rows == 0
    assert again.rejected == first.rejected


def test_files_that_vanish_between_listing_and_reading_are_named(
    photos: Path, extract_tiny: Extract, monkeypatch: pytest.MonkeyPatch
) -> None:
    def find_then_lose(source: Path) -> object:
        found = open_images(source)
        (photos / "train" / "bees" / "bees003.png").unlink()
        return found

    monkeypatch.setattr("bottleneck.extraction.extract.open_images", find_then_lose)
    done = extract_tiny(photos)
    assert list(done.rejected.values()) == ["cannot be read: No such file or directory"]
