import dataclasses
import json
import time
from pathlib import Path
from typing import Any

import pytest

from bottleneck.cache.update.merge import ImageChanges
from bottleneck.cache.verify import Problem
from bottleneck.extraction.result import ExtractionResult, RepairResult
from bottleneck.runtime.progress import Progress
from bottleneck.runtime.schedulers.array_task import ArrayTask
from bottleneck.runtime.timing import RunStats
from tests.helpers.fixture_types import Extract
from tests.helpers.photographs import photograph
from tests.helpers.runners import limit_memory


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


@pytest.mark.parametrize(
    ("done", "words"),
    [
        ((355, 355), "encoded 355 images in 10.0 s (36 images/s), and 2.5 s to start"),
        ((1, 1), "encoded 1 image in 10.0 s (0.1 images/s), and 2.5 s to start"),
        ((2, 10), "encoded 10 views of 2 images in 10.0 s (1.0 views/s), and 2.5 s to start"),
    ],
)
def test_the_rate_is_without_the_time_to_start(
    done: tuple[int, int], words: str, photos: Path, extract_tiny: Extract
) -> None:
    rows, passes = done
    found = dataclasses.replace(
        extract_tiny(photos), rows=rows, passes=passes, seconds=12.5, startup=2.5
    )
    assert words in str(found).splitlines()


def test_the_start_ends_where_progress_begins(photos: Path, extract_tiny: Extract) -> None:
    times: dict[int, float] = {}

    def on_progress(progress: Progress) -> None:
        times.setdefault(progress.done, time.monotonic())
        time.sleep(0.1)  # the first image is not done yet, and the start is over

    start = time.monotonic()
    done = extract_tiny(photos, on_progress=on_progress)
    assert 0 < done.startup <= times[0] - start < done.seconds - 0.1 * len(times)


def test_a_divided_batch_is_reported_with_the_size_that_fits(
    photos: Path, extract_tiny: Extract
) -> None:
    done = extract_tiny(photos)
    assert "memory" not in str(done)
    stats = RunStats(done.stats.timer, max_batch_size=4)
    assert "`batch_size=4` saves the attempt" in str(dataclasses.replace(done, stats=stats))


def test_the_size_of_batches_that_fitted_reaches_the_result(
    photos: Path, extract_tiny: Extract, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit_memory(monkeypatch, 3)
    done = extract_tiny(photos, batch_size=8)
    assert (done.rows, done.stats.max_batch_size) == (36, 2)
    assert "`batch_size=2` saves the attempt" in str(done)


def test_a_task_tells_which_part_it_was(photos: Path, extract_tiny: Extract) -> None:
    done = extract_tiny(photos, task=(1, 2))
    assert "of task 1/2, which has 2 of 5 shards" in str(done)
    values = json.loads(json.dumps(done.to_dict()))
    assert (values["task"], values["encoded"], values["complete"]) == ([1, 2], 16, False)
    assert values["changes"] == {"added": 0, "changed": 0, "removed": 0}
    assert set(values["shares"]) == {"read", "decode", "forward", "write"}


def test_a_task_reports_missing_shards_and_the_tasks_that_make_them(
    photos: Path, extract_tiny: Extract
) -> None:
    first = extract_tiny(photos, task=(1, 4))  # shard 1 of 5
    lines = str(first).splitlines()
    assert (
        "the cache lacks 4 of 5 shards, to be made by tasks 0,2-3 of 4: "
        "`bottleneck status` with `tasks=4` names those that are left"
    ) in lines
    assert first.to_dict()["missing_shards"] == 4
    again = extract_tiny(photos, task=(1, 4))
    assert (
        str(again)
        .splitlines()[-1]
        .startswith("nothing left for this task; other tasks' shards are missing: 4 (")
    )
    assert "nothing to do" not in str(again)
    extract_tiny(photos, task=(0, 2))
    extract_tiny(photos, task=(3, 4))
    last = extract_tiny(photos, task=(1, 4))
    assert "no shard of the cache is missing" in str(last).splitlines()
    assert "nothing to do: every code is in the cache" in str(last)
    assert (last.to_dict()["missing_shards"], last.to_dict()["complete"]) == (0, True)


def test_a_task_without_shards_does_not_say_that_its_layer_is_complete(
    photos: Path, extract_tiny: Extract
) -> None:
    extract_tiny(photos, layers=["layer2"])
    done = extract_tiny(photos, layers=["layer3"], task=(7, 8))
    assert (done.to_dict()["complete"], done.to_dict()["missing_shards"]) == (False, 5)
    assert "nothing left for this task" in str(done)


def test_the_likely_mistake_is_mentioned_only_where_a_scheduler_chose_and_no_other_task_wrote(
    photos: Path, extract_tiny: Extract, tmp_path: Path
) -> None:
    def hint(out: str, task: ArrayTask, **options: Any) -> bool:
        text = str(extract_tiny(photos, tmp_path / out, task=task, **options))
        return "no other task has written a shard of layer2 here yet: if each" in text

    chosen = ArrayTask(1, 2, ("RANK=1", "WORLD_SIZE=2"))
    assert hint("one", chosen)
    assert hint("one", chosen)  # again: still nobody else
    assert not hint("one", ArrayTask(1, 2))
    assert not hint("two", ArrayTask(0, 2, ("RANK=0",)), shard_size=100)  # it made the only shard
    assert hint("three", chosen, shard_size=100)  # it has none
    extract_tiny(photos, tmp_path / "one", task=ArrayTask(0, 4))
    assert not hint("one", chosen)


def test_a_cache_of_rejected_images_has_nothing_to_do_and_says_why(
    photos: Path, extract_tiny: Extract
) -> None:
    for image in photos.rglob("*.*"):
        image.write_bytes(b"")
    extract_tiny(photos)
    image.unlink()
    again = extract_tiny(photos)
    assert "nothing to do: none of the images gives codes" in str(again)
    assert (again.to_dict()["complete"], again.to_dict()["without_codes"]) == (False, ["layer2"])


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
    result = RepairResult(problems, dataclasses.replace(done, rows=1))
    assert str(result).splitlines() == [
        "repaired: codes/layer2/00001.h5: missing",
        "repaired: images.csv: missing",
        "1 image encoded again",
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
