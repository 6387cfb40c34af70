"""Sweeps, and the share of the network that shards remember for them."""

import dataclasses
import gc
import math
import weakref
from collections import Counter
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.dummy import DummyClassifier
from sklearn.metrics import accuracy_score, balanced_accuracy_score, f1_score

from bottleneck.backbones.layers.listing import list_layers
from bottleneck.cache import cache_fingerprint
from bottleneck.cache.format.series import SeriesLike
from bottleneck.cache.format.shard import OpenShard, ShardData, read_header
from bottleneck.cache.format.shard_writer import write_shard
from bottleneck.cache.store import Cache, open_cache
from bottleneck.errors import CacheError, InvalidOptionError, UnknownNameError, WorkerError
from bottleneck.fitting import sweep as module
from bottleneck.fitting.fit import fit
from bottleneck.fitting.layer_shares import layer_shares
from bottleneck.fitting.loading.dataset import CodeDataset, load_dataset
from bottleneck.fitting.loading.features import Features, Views
from bottleneck.fitting.scoring.scores import ClassificationScore
from bottleneck.fitting.selection.options import SearchOptions
from bottleneck.fitting.sweep import sweep
from bottleneck.fitting.sweep_result import SweepResult
from bottleneck.fitting.sweep_row import SweepRow
from bottleneck.linear.training import ClassifierOptions
from bottleneck.runtime import Progress
from tests.helpers.datasets import cache_of_layers, clouds, several, written_cache
from tests.helpers.executors import Elsewhere
from tests.helpers.fixture_types import Extract
from tests.helpers.shards import a_manifest, set_work
from tests.helpers.tiny_networks import plain

SVM, SOFTMAX = ClassifierOptions("svm"), ClassifierOptions("softmax")
CS = (0.01, 1.0)


def test_fewer_folds_for_a_small_class_are_reported(tmp_path: Path) -> None:
    codes = np.random.default_rng(0).normal(size=(40, 4)).astype(np.float32)
    cache = written_cache(tmp_path / "cache", codes, ["rare"] * 7 + ["usual"] * 33)
    told = "7 folds in place of 9: each needs an image, or a group, of every class"
    for cv, expected in ((9, [told]), (7, [])):
        search = SearchOptions(c=CS, cv=cv)
        for text in (
            str(sweep(cache, "svm", search=search)),
            str(fit(cache, "svm", search=search)),
        ):
            assert [line for line in text.splitlines() if "in place of" in line] == expected


# The share of the network in a shard


def a_shard() -> ShardData:
    codes = np.ones((2, 3), dtype=np.float32)
    row, valid = np.arange(2), np.ones(2, dtype=bool)
    return ShardData(codes, row, ["a", "b"], ["", ""], valid, ["", ""], ["00", "00"])


def test_a_shard_remembers_the_share_of_the_network(tmp_path: Path) -> None:
    path = tmp_path / "0.h5"
    write_shard(path, a_shard(), manifest=a_manifest(), series="layer", cost=0.25)
    assert read_header(path).cost == 0.25


def test_extraction_writes_down_what_the_layers_need(photos: Path, extract_tiny: Extract) -> None:
    cache = extract_tiny(photos, layers=["layer1", "layer2", "layer3"]).cache
    listed = {layer.name: layer.cost for layer in list_layers(plain(), 32)}
    # Outputs × weights of each: 6 maps of 16 × 16, 8 and 10 of 8 × 8, and 4 classes.
    adds = [6 * 16**2 * 3 * 9, 8 * 8**2 * 6 * 9, 10 * 8**2 * 8 * 9, 4 * 10]
    for turn, layer in enumerate(["layer1", "layer2", "layer3"]):
        found = {header.cost for header in cache.finished_shards(layer).values()}
        assert found == {listed[layer]}
        assert listed[layer] == pytest.approx(sum(adds[: turn + 1]) / sum(adds))


def test_shards_without_a_cost_are_not_made_again(
    cache: Path, photos: Path, extract_tiny: Extract
) -> None:
    set_work(cache, None)
    assert extract_tiny(photos, layers=["layer2", "layer3"]).rows == 0


def test_one_shard_with_a_cost_is_enough(cache: Path) -> None:
    expected = read_header(cache / "codes" / "layer2" / "00000.h5").cost
    last = cache / "codes" / "layer2" / "00004.h5"
    whole = last.read_bytes()
    set_work(cache, None, "layer2")
    last.write_bytes(whole)
    (row,) = sweep(cache, [SVM], layers=["layer2"], search=SearchOptions(c=[1.0], cv=2))
    assert row.cost == expected is not None


# Rows


def layered(
    path: Path,
    layers: dict[str, tuple[NDArray[Any], float | None]],
    labels: Sequence[str],
    **table: Any,
) -> Path:
    """A cache whose layers have these codes and shares."""
    for layer, (codes, work) in layers.items():
        written_cache(path, codes, labels, layers=[layer], **table)
        set_work(path, work, layer)
    return path


def noisy(apart: float, d: int = 6) -> NDArray[np.float32]:
    return clouds(120, d, apart=apart, seed=round(10 * apart))[0]


CLOUDS = ["abc"[i % 3] for i in range(120)]
SPLIT = ["test" if i % 4 == 0 else "train" for i in range(120)]


@pytest.fixture
def three(tmp_path: Path) -> Path:
    """A shallow, a middle and a deep layer, whose names are in another order."""
    layers: dict[str, tuple[NDArray[Any], float | None]] = {
        "a": (noisy(2.0, 9), 1.0),
        "b": (noisy(0.3, 4), 0.1),
        "c": (noisy(1.0), 0.5),
    }
    return layered(tmp_path / "three", layers, CLOUDS, split=SPLIT)


def places(rows: Sequence[SweepRow]) -> list[tuple[str, str]]:
    return [(row.layer, row.clf) for row in rows]


@pytest.mark.parametrize("scaling", ["standardize", pytest.param("auto", marks=pytest.mark.slow)])
def test_a_row_is_what_fit_says_of_that_layer_alone(three: Path, scaling: str) -> None:
    search = SearchOptions(c=CS, cv=2, scaling=scaling)
    rows = sweep(three, [SVM, SOFTMAX], search=search)
    names = ["b", "c", "a", "all layers"]
    assert places(rows) == [(layer, clf) for layer in names for clf in ("svm", "softmax")]
    for row in rows:
        layers = ["b", "c", "a"] if row.layer == "all layers" else row.layer
        alone = fit(three, row.clf, layers=layers, search=search)
        assert row.record | {"seconds": 0} == alone.record() | {"seconds": 0}
        assert alone.search is not None
        assert (row.cv, row.metric) == (alone.search.best, "accuracy")
        assert isinstance(row.heldout, ClassificationScore)
        assert isinstance(alone.heldout, ClassificationScore)
        np.testing.assert_array_equal(row.heldout.confusion, alone.heldout.confusion)
        assert row.heldout_metric == row.heldout.accuracy == alone.heldout.accuracy
        size, cost = {"a": (9, 1.0), "b": (4, 0.1), "c": (6, 0.5)}.get(row.layer, (19, 1.0))
        assert row.size == alone.head.coef.shape[1] == size
        assert row.cost == cost
        assert (row.converged, row.seconds > 0) == (alone.converged, True)


def test_every_shard_is_read_once_for_its_layer_and_once_for_all(
    three: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    digests: list[Path] = []
    image_digests = OpenShard.image_digests

    def read_digests(shard: OpenShard) -> list[str]:
        digests.append(shard.path)
        return image_digests(shard)

    monkeypatch.setattr(OpenShard, "image_digests", read_digests)
    reads: Counter[tuple[str, int]] = Counter()
    read_checked = Cache.read_checked

    def spy(self: Cache, series: SeriesLike, shard: int) -> NDArray[Any]:
        reads[str(series), shard] += 1
        return read_checked(self, series, shard)

    monkeypatch.setattr(Cache, "read_checked", spy)
    sweep(three, [SVM, SOFTMAX], search=SearchOptions(c=[1.0], cv=2))
    assert reads == {(layer, shard): 2 for layer in "abc" for shard in range(3)}
    assert len(digests) == 3  # those of one layer, for all of them


@pytest.mark.parametrize("given", [None, 800])
def test_workers_of_a_machine_share_the_memory(
    three: Path, monkeypatch: pytest.MonkeyPatch, given: int | None
) -> None:
    trained = []

    def train(*arguments: Any, memory: int) -> list[tuple[None, None]]:
        trained.append(memory)
        return [(None, None)]

    monkeypatch.setattr(module, "spare_memory", lambda: 800)
    monkeypatch.setattr(module, "_train", train)
    features = Features(("a",))
    search = SearchOptions(c=1.0, cv=2)
    fingerprint = cache_fingerprint(three)
    images = open_cache(three).images.digest
    job = module._WorkerJob(three, fingerprint, None, images, search, given, 4, [features])
    job.train(module._Task(features, SVM))
    assert trained == [200]


@pytest.mark.parametrize("memory", [0, "1G"])
def test_memory_that_is_no_number_of_bytes_is_refused_before_workers_begin(
    three: Path, memory: Any
) -> None:
    elsewhere: Any = Elsewhere()
    with pytest.raises(InvalidOptionError, match="`memory="):
        sweep(three, memory=memory, executor=elsewhere)


def test_workers_that_do_not_see_the_cache_are_named_before_training(three: Path) -> None:
    elsewhere: Any = Elsewhere()
    with pytest.raises(WorkerError, match="worker tcp://node7 does not see the cache /data/photos"):
        sweep(three, executor=elsewhere)


def test_what_is_no_executor_is_refused_before_training(three: Path) -> None:
    not_one: Any = 3
    with pytest.raises(InvalidOptionError, match="`executor=3`: must be an Executor"):
        sweep(three, executor=not_one)


def test_one_layer_is_in_memory_at_a_time(three: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before: list[weakref.ref[Any]] = []

    def spy(*arguments: Any, **options: Any) -> CodeDataset:
        gc.collect()
        assert [ref() for ref in before] == [None] * len(before)
        lesson = load_dataset(*arguments, **options)
        before.extend(weakref.ref(thing) for thing in (lesson, lesson.training.codes))
        return lesson

    monkeypatch.setattr(module, "load_dataset", spy)
    sweep(three, [SVM], search=SearchOptions(c=[0.01], cv=2))
    assert len(before) == 8


def test_layers_whose_share_is_unknown_come_last_by_name(tmp_path: Path) -> None:
    works = {"z": 0.2, "y": None, "deep": 0.9, "x": None}
    cache = layered(
        tmp_path / "c", {name: (noisy(1.0), work) for name, work in works.items()}, CLOUDS
    )
    rows = sweep(cache, [SVM], search=SearchOptions(c=[1.0], cv=2))
    assert [(row.layer, row.cost) for row in rows] == [
        ("z", 0.2),
        ("deep", 0.9),
        ("x", None),
        ("y", None),
        ("all layers", None),
    ]
    assert rows[-1].features.layers == ("z", "deep", "x", "y")
    assert (rows[0].heldout, rows[0].heldout_metric) == (None, None)


def test_fit_names_all_layers_by_depth_and_keeps_their_columns_by_name(three: Path) -> None:
    result = fit(three, "svm", layers="all", search=SearchOptions(c=[1.0], cv=0))
    features, cache = result.head.features, open_cache(three)
    assert features.layers == ("a", "b", "c")
    assert list(result.shares) == ["b", "c", "a"]
    codes = load_dataset(cache, features, cache.images).training.codes
    expected = layer_shares(result.solution.coef, codes, result.head.scaler)
    assert [result.shares[layer] for layer in "abc"] == expected.tolist()
    assert "svm on b + c + a: 90 images" in str(result)
    assert "share of each layer  b " in str(result)
    given = fit(three, "svm", layers=["a", "c"], search=SearchOptions(c=[1.0], cv=0))
    assert "svm on a + c: 90 images" in str(given)


def test_layers_and_classifiers_can_be_chosen_and_count_once(three: Path) -> None:
    rows = sweep(three, [SVM, SVM], layers=["c", "b", "c"], search=SearchOptions(c=[1.0], cv=2))
    assert places(rows) == [("b", "svm"), ("c", "svm"), ("all layers", "svm")]
    rows = sweep(three, [SVM], layers=["c"], search=SearchOptions(c=[1.0], cv=2))
    assert places(rows) == [("c", "svm")]


@pytest.mark.parametrize(("views", "named"), [(1, "views=1"), ("all", "views=2")])
def test_the_call_trains_the_recommended_row_of_a_cache_with_views(
    tmp_path: Path, views: Views, named: str
) -> None:
    codes = clouds(60)[0]
    path = cache_of_layers(tmp_path / "c", {"a": [codes, codes[:, ::-1]]}, CLOUDS[:60])
    search = SearchOptions(c=[1.0], cv=2)
    found = sweep(path, "svm", views=views, search=search)
    call = str(found).split("`")[1]
    assert call == f"bottleneck.fit(cache, 'svm', layers='a', {named})"
    arguments = {"cache": path, "bottleneck": SimpleNamespace(fit=partial(fit, search=search))}
    assert eval(call, arguments).head.features == found.recommended.features


def test_progress_is_reported_after_each_fit(three: Path) -> None:
    told: list[Progress] = []
    search = SearchOptions(c=[1.0], cv=2)
    sweep(three, [SVM, SOFTMAX], layers="a", search=search, on_progress=told.append)
    # Of each classifier one in each fold, its calibration in each fold, and the last one.
    assert list(dict.fromkeys(told)) == [Progress(done, 10, "fits at most") for done in range(11)]


def test_a_fit_to_longer_codes_counts_for_more(tmp_path: Path) -> None:
    X = clouds(60, 12)[0]
    path = cache_of_layers(tmp_path / "c", {"a": [X[:, :3]], "b": [X[:, 3:]]}, CLOUDS[:60])
    told: list[Progress] = []
    sweep(path, SVM, search=SearchOptions(c=[1.0], cv=2), on_progress=told.append)
    done = dict.fromkeys(one.done for one in told)
    # Of 3, 9 and 12 values: an eighth of the work, three eighths and half of it, five fits each.
    eighths = [*range(6), *range(5, 21, 3), *range(20, 41, 4)]
    assert list(done) == list(dict.fromkeys(math.ceil(3 * eighth / 8) for eighth in eighths))
    assert told[-1] == Progress(15, 15, "fits at most")


def test_a_search_that_ends_early_counts_as_whole(three: Path) -> None:
    told: list[Progress] = []
    sweep(three, SVM, layers="a", on_progress=told.append)
    assert told[-1] == Progress(86, 86, "fits at most")
    assert told[-2].done < 86


def test_labels_of_a_csv_replace_those_of_the_cache(three: Path, tmp_path: Path) -> None:
    table = ["path,label", *(f"{i:03d}.jpg,{'even' if i % 2 else 'odd'}" for i in range(120))]
    (tmp_path / "labels.csv").write_text("\n".join(table) + "\n")
    (row,) = found = sweep(
        three,
        [SVM],
        layers=["a"],
        search=SearchOptions(c=[1.0], cv=2),
        labels=tmp_path / "labels.csv",
    )
    alone = fit(
        three, SVM, layers="a", search=SearchOptions(c=[1.0], cv=2), labels=tmp_path / "labels.csv"
    )
    labels = alone.record()["labels"]  # of the whole sweep, not of a row
    assert row.record | {"seconds": 0, "labels": labels} == alone.record() | {"seconds": 0}
    assert labels["rows"] == 120
    assert found.labels == alone.labels
    assert str(found).startswith(f"{alone.labels}\n\nlayer ")
    assert str(alone).startswith(f"{alone.labels}\n\n")
    assert (
        row.majority_baseline == 60 / 90
    )  # the splits stay, and so 60 of the 90 training rows are even


@pytest.mark.parametrize("metric", ["accuracy", "balanced", "macro_f1"])
def test_held_out_rows_and_chance_are_measured_by_the_metric_of_the_folds(
    tmp_path: Path, metric: str
) -> None:
    by_hand = {
        "accuracy": accuracy_score,
        "balanced": balanced_accuracy_score,
        "macro_f1": lambda true, answer: f1_score(true, answer, average="macro", zero_division=0),
    }[metric]
    labels = np.array(["abc"[min(i % 7, 2)] for i in range(120)])
    train = np.array(SPLIT) == "train"
    cache = layered(tmp_path / "c", {"a": (noisy(0.5), None)}, labels.tolist(), split=SPLIT)
    search = SearchOptions(c=CS, cv=3, metric=metric)
    (row,) = sweep(cache, [SVM], search=search)
    head = fit(cache, "svm", search=search).head
    answers = np.array(head.classes)[head.decision_function(noisy(0.5)[~train]).argmax(axis=1)]
    assert row.heldout_metric == pytest.approx(by_hand(labels[~train], answers))
    dummy = DummyClassifier(strategy="most_frequent").fit(labels[train], labels[train])
    assert row.majority_baseline == pytest.approx(
        by_hand(labels[train], dummy.predict(labels[train]))
    )


def test_several_labels_an_image_have_one_metric_and_no_chance(tmp_path: Path) -> None:
    X, targets = several(120)
    labels = ["|".join(np.array(["x", "y", "z"])[row]) for row in targets]
    cache = layered(tmp_path / "c", {"a": (X, 0.5)}, labels, split=SPLIT)
    (row,) = sweep(cache, [SOFTMAX], search=SearchOptions(c=[1.0], cv=2))
    assert (row.metric, row.majority_baseline) == ("mean_average_precision", None)
    assert row.heldout is not None
    assert row.heldout_metric == row.record["heldout"]["mean_average_precision"]
    assert row.heldout_metric != row.heldout.accuracy


# Refusals


@pytest.mark.parametrize("cv", [0])
def test_without_folds_there_is_nothing_to_recommend_by(three: Path, cv: int) -> None:
    with pytest.raises(InvalidOptionError, match=rf"^`cv={cv}`: must be at least 2 folds: a sweep"):
        sweep(three, [SVM], search=SearchOptions(c=[1.0], cv=cv))


def test_wrong_options_are_refused_before_anything_is_read(tmp_path: Path) -> None:
    absent = tmp_path / "absent"
    with pytest.raises(UnknownNameError, match="unknown classifier 'forest'"):
        sweep(absent, [SVM, "forest"])
    with pytest.raises(InvalidOptionError, match=r"`clfs=.*svm, softmax or both"):
        sweep(absent, [])
    with pytest.raises(CacheError, match="no cache at"):
        sweep(absent, [SVM])


def test_a_layer_that_is_not_there_is_refused(three: Path) -> None:
    with pytest.raises(UnknownNameError, match=r"unknown layer of .* 'd'"):
        sweep(three, [SVM], layers=["a", "d"])


def test_a_cache_without_layers_is_refused(three: Path) -> None:
    for path in sorted((three / "codes").rglob("*"), reverse=True):
        path.unlink() if path.is_file() else path.rmdir()
    with pytest.raises(CacheError, match=r"no layer yet: `bottleneck\.extract`"):
        sweep(three, [SVM])


def test_an_unfinished_layer_is_refused_before_any_training(
    three: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "fit_dataset", None)
    open_cache(three).shard_path("a", 1).unlink()  # the deepest one, and so the last
    with pytest.raises(CacheError, match="layer 'a' lacks 1 of 3 shards"):
        sweep(three, [SVM])


def test_the_held_out_split_does_not_affect_the_choice(three: Path, tmp_path: Path) -> None:
    search = SearchOptions(c=[0.01], cv=2)
    rows = sweep(three, [SVM], search=search)
    wrong = [
        {"a": "b", "b": "c", "c": "a"}[x] if s == "test" else x
        for x, s in zip(CLOUDS, SPLIT, strict=True)
    ]
    table = ["path,label", *(f"{i:03d}.jpg,{label}" for i, label in enumerate(wrong))]
    (tmp_path / "wrong.csv").write_text("\n".join(table) + "\n")
    others = sweep(three, [SVM], search=search, labels=tmp_path / "wrong.csv")
    assert [row.cv for row in others] == [row.cv for row in rows]
    assert [row.heldout_metric for row in others] != [row.heldout_metric for row in rows]
    assert places([others.recommended]) == places([rows.recommended])
    worse = [dataclasses.replace(row, heldout=None) for row in rows]
    assert places([SweepResult(worse).recommended]) == places([rows.recommended])
