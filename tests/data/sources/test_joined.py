"""Several sources as one: order, other tables, pickles."""

import pickle
from pathlib import Path

import numpy as np
import pytest

from bottleneck.data.images import open_images
from bottleneck.data.sources.files.file_source import FileSource
from bottleneck.data.sources.joined import JoinedSource
from bottleneck.data.table.image_table import ImageTable
from bottleneck.errors import ImageError
from tests.helpers.archives import png, shard, write_tar


@pytest.fixture
def joined(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> JoinedSource:
    monkeypatch.chdir(tmp_path)
    write_tar(tmp_path / "a.tar", shard(range(3)))
    (tmp_path / "9.png").write_bytes(png(9))
    return JoinedSource([FileSource.from_paths(["9.png"]), open_images("a.tar")])


def test_images_follow_each_other_with_their_labels(joined: JoinedSource) -> None:
    assert joined.table.path[:] == ["9.png", "a.tar/0000.png", "a.tar/0001.png", "a.tar/0002.png"]
    assert joined.table.label[:] == ["", "0", "1", "2"]
    assert [joined.read(row) for row in range(4)] == [png(i) for i in (9, 0, 1, 2)]
    assert joined.path(3) == "a.tar/0002.png"


def test_another_table_gives_the_same_images_other_rows(joined: JoinedSource) -> None:
    turned = joined.with_table(joined.table.take(np.array([2, 0])))
    assert [turned.read(0), turned.read(1)] == [png(1), png(9)]
    assert turned.path(1) == "9.png"
    n = np.ones(1, dtype=np.int64)
    foreign = joined.with_table(ImageTable(["gone.png"], [""], [""], [""], n, n))
    assert foreign.path(0) == "gone.png"
    with pytest.raises(ImageError, match="not among the images"):
        foreign.read(0)


def test_a_pickle_reads_the_same_images_elsewhere(
    joined: JoinedSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    pickled = pickle.dumps(joined.with_table(joined.table.take(np.array([2, 0]))))
    monkeypatch.chdir("/")
    again = pickle.loads(pickled)
    assert [again.read(0), again.read(1)] == [png(1), png(9)]
