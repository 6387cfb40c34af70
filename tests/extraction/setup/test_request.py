from pathlib import Path

import pytest

from bottleneck.errors import InvalidOptionError
from bottleneck.extraction.result import ExtractionResult
from tests.helpers.fixture_types import Extract
from tests.helpers.photographs import photograph


def shared(done: ExtractionResult) -> list[str]:
    """The notes of a run on images that are encoded again."""
    return [note for note in done.notes if "with codes will be encoded again" in note]


def test_images_in_the_shard_of_new_and_changed_ones_are_counted(
    cache: Path, photos: Path, extract_tiny: Extract
) -> None:
    photograph(1).save(photos / "train" / "ants" / "new.png")  # beside 4 in the last shard
    done = extract_tiny(photos)
    assert (done.rows, done.changes.added) == (5, 1)
    (note,) = shared(done)
    assert note.startswith("4 images with codes")
    changed, *others = done.cache.images.path[:8]  # a whole shard
    (photos / others[-1]).unlink()
    photograph(2).save(photos / changed)
    done = extract_tiny(photos)
    assert (done.rows, done.changes.changed, done.changes.removed) == (7, 1, 1)
    assert [note.split(" with")[0] for note in shared(done)] == ["6 images"]


def test_images_without_codes_of_a_layer_are_not_encoded_again(
    cache: Path, photos: Path, extract_tiny: Extract
) -> None:
    photograph(1).save(photos / "train" / "ants" / "new.png")
    done = extract_tiny(photos, layers=["layer1"])
    assert done.rows == 37 and not shared(done)


def test_images_that_are_alone_in_their_shard_need_no_note(
    photos: Path, extract_tiny: Extract
) -> None:
    extract_tiny(photos, shard_size=9)
    photograph(1).save(photos / "train" / "ants" / "new.png")
    done = extract_tiny(photos, shard_size=9)
    assert done.rows == 1 and not shared(done)


@pytest.mark.parametrize("redo", [("layer3", 0), ("layer2@avg", 0), ("layer2", 5), ("layer2", "1")])
def test_a_shard_to_redo_that_is_not_of_the_run_is_refused(
    cache: Path, photos: Path, extract_tiny: Extract, redo: tuple[str, int]
) -> None:
    with pytest.raises(InvalidOptionError, match=r"must be shards of the run: 0 to 4 of layer2$"):
        extract_tiny(photos, redo=[redo])
