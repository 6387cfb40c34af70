import dataclasses
import json
from pathlib import Path

from bottleneck.cache.merge import ImageChanges
from bottleneck.cache.verify import Problem
from bottleneck.extraction.result import ExtractionResult, RepairResult
from bottleneck.runtime.timing import RunStats
from tests.helpers.fixture_types import Extract
from tests.helpers.photographs import photograph


def test_a_result_prints_the_status_and_where_the_time_went(
    photos: Path, extract_tiny: Extract
) -> None:
    (photos / "train" / "ants" / "broken.jpg").write_bytes(b"no image")
    text = str(extract_tiny(photos))
    assert "rejected: train/ants/broken.jpg: cannot be decoded" in text
    assert "encoded 37 images in" in text
    assert "is the limit" in text
    photograph(7).save(photos / "train" / "ants" / "new.png")
    text = str(extract_tiny(photos))
    assert text.startswith("images: 1 added, 0 changed, 0 removed since the last run\n")
    assert "nothing to do: every code is in the cache" in str(extract_tiny(photos))


def test_a_batch_that_was_divided_is_told_with_the_size_that_fits(
    photos: Path, extract_tiny: Extract
) -> None:
    done = extract_tiny(photos)
    assert "memory" not in str(done)
    stats = RunStats(done.stats.timer, max_batch_size=4)
    assert "`batch_size=4` saves the attempt" in str(dataclasses.replace(done, stats=stats))


def test_a_task_tells_which_part_it_was(photos: Path, extract_tiny: Extract) -> None:
    done = extract_tiny(photos, task=(1, 2))
    assert "of task 1/2, which has 2 of 5 shards" in str(done)
    values = json.loads(json.dumps(done.to_dict()))
    assert (values["task"], values["encoded"], values["complete"]) == ([1, 2], 16, False)
    assert values["changes"] == {"added": 0, "changed": 0, "removed": 0}
    assert set(values["shares"]) == {"read", "decode", "forward", "write"}


def test_a_notebook_shows_the_text_with_names_escaped(photos: Path, extract_tiny: Extract) -> None:
    done = extract_tiny(photos)
    row = {0: "<script>"}
    page = dataclasses.replace(done, rejected=row)._repr_html_()
    assert page.startswith("<pre>")
    assert "&lt;script&gt;" in page


def test_a_repair_names_what_it_made_again_and_not_what_it_left(
    photos: Path, extract_tiny: Extract
) -> None:
    done = extract_tiny(photos)
    problems = [
        Problem("codes/layer2/00001.h5", "missing", "layer2", 1),
        Problem("codes/layer2/notes.txt", "not a shard", "layer2", None),
        Problem("images.csv", "missing", "", None),
    ]
    result = RepairResult(problems, done)
    assert str(result).splitlines() == [
        "repaired: codes/layer2/00001.h5: missing",
        "repaired: images.csv: missing",
        "36 images encoded again",
    ]
    assert [item["file"] for item in result.to_dict()["repaired"]] == [
        "codes/layer2/00001.h5",
        "images.csv",
    ]
    assert result.cache is done.cache
    assert result._repr_html_().startswith("<pre>repaired")


def test_a_result_knows_its_shards(photos: Path, extract_tiny: Extract) -> None:
    done: ExtractionResult = extract_tiny(photos, task=(1, 2))
    assert list(done.shards) == [1, 3]
    assert done.changes == ImageChanges()
