import dataclasses
import json
import shutil
from collections import Counter
from pathlib import Path
from typing import Any, Literal

import h5py
import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score, log_loss
from sklearn.model_selection import GridSearchCV, StratifiedKFold, cross_val_predict
from sklearn.svm import LinearSVC

from benchmarks.fitting import sklearn_solver as reference
from bottleneck.cache.format.series import SeriesLike
from bottleneck.cache.store import Cache, open_cache
from bottleneck.data.table.image_table import ImageTable
from bottleneck.errors import (
    CacheError,
    DeviceMemoryError,
    InvalidOptionError,
    LabelsError,
    UnknownNameError,
)
from bottleneck.fitting.fit import fit, fit_dataset
from bottleneck.fitting.fit_result import FitResult
from bottleneck.fitting.heads.head import Head
from bottleneck.fitting.loading.dataset import load_dataset
from bottleneck.fitting.loading.features import Features
from bottleneck.fitting.scoring.intervals import accuracy_interval
from bottleneck.fitting.scoring.scores import ClassificationScore, MultilabelScore
from bottleneck.fitting.selection.cross_validation import CrossValidation
from bottleneck.fitting.selection.options import SearchOptions
from bottleneck.linear.calibration import fit_temperature
from bottleneck.linear.scaling import SCALINGS
from bottleneck.linear.training import ClassifierOptions
from bottleneck.runtime import Progress
from tests.helpers.datasets import by_sklearn, clouds, several, training, written_cache
from tests.helpers.fixture_types import Extract
from tests.helpers.photographs import write_photographs
from tests.helpers.sklearn_options import SklearnOptions

GRID = (1e-3, 1e-1, 10.0)


def run(cache: Path, clf: str = "svm", **options: Any) -> FitResult:
    """Call `fit` with quick defaults, and with the options of its option objects by name."""
    kind = SklearnOptions if options.pop("sklearn", False) else ClassifierOptions
    names = ("class_weight", "device")
    classifier = kind(clf, **{name: options.pop(name) for name in names if name in options})
    values: dict[str, Any] = {"c": GRID, "cv": 4}
    for name in ("c", "cv", "scaling", "metric", "rule"):
        if name in options:
            values[name] = options.pop(name)
    search = SearchOptions(**values)
    return fit(cache, classifier, search=search, **options)


def half(n: int) -> list[str]:
    """Every third row is held out."""
    return [("train", "train", "test")[row % 3] for row in range(n)]


@pytest.fixture
def split(tmp_path: Path) -> Path:
    """Overlapping clouds of three classes, 160 rows to learn from and 80 held out."""
    X, y = shuffled(*clouds())
    return written_cache(tmp_path / "split", X, ["abc"[i] for i in y], split=half(240))


def shuffled(X: NDArray[Any], y: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    order = np.random.default_rng(1).permutation(len(X))
    return X[order], y[order]


def sides(X: NDArray[Any], y: NDArray[Any]) -> tuple[NDArray[Any], ...]:
    """Training rows and targets, held-out rows and targets, of `half`."""
    held_out = np.arange(len(X)) % 3 == 2
    return X[~held_out], y[~held_out], X[held_out], y[held_out]


def score_of(done: FitResult) -> ClassificationScore:
    assert isinstance(done.heldout, ClassificationScore)
    return done.heldout


def told(done: FitResult) -> dict[str, Any]:
    """What `fit` says, as strict JSON, but for how long it took."""
    found: dict[str, Any] = json.loads(json.dumps(done.to_dict(), allow_nan=False))
    return {name: value for name, value in found.items() if name != "seconds"}


# From images to a head, and the same by hand


def by_hand(cache: Path, split: str) -> tuple[Any, Any]:
    """Codes and labels of a split, with h5py and the table alone."""
    with h5py.File(cache / "codes.h5") as index:
        codes = index["layer2"][...]
    images = open_cache(cache).images
    rows = [i for i, name in enumerate(images.split) if name == split]
    return codes[rows], np.array(images.label)[rows]


def test_fit_selects_and_scores_as_scikit_learn_does(cache: Path) -> None:
    done = run(cache, layers="layer2")
    X, y = by_hand(cache, "train")
    folds = StratifiedKFold(4, shuffle=True, random_state=0)
    search = GridSearchCV(by_sklearn("svm", 1.0), {"linearsvc__C": GRID}, cv=folds).fit(X, y)
    assert done.search is not None
    assert done.search.best.mean == pytest.approx(search.best_score_)
    assert done.c == search.best_params_["linearsvc__C"]
    codes, labels = by_hand(cache, "val")
    assert (score_of(done).split, score_of(done).n) == ("val", 12)
    assert score_of(done).accuracy == pytest.approx((search.predict(codes) == labels).mean())
    assert done.head.classes == ["ants", "bees", "wasps"]
    assert (done.head.features, done.train) == (Features(("layer2",)), 24)


@pytest.mark.parametrize("clf", ["svm", "softmax"])
def test_colours_are_learned(cache: Path, clf: str) -> None:
    assert score_of(run(cache, clf, layers="layer2")).accuracy == 1.0


@pytest.mark.parametrize("clf", ["svm", "softmax"])
@pytest.mark.parametrize(
    ("scaling", "class_weight"),
    [
        *(("standardize", "balanced"), ("l2", None), ("none", None)),
        *(
            pytest.param(*each, marks=pytest.mark.slow)
            for each in [("standardize", None), ("l2", "balanced"), ("none", "balanced")]
        ),
    ],
)
def test_coefficients_are_those_of_all_training_rows(
    tmp_path: Path, clf: str, scaling: str, class_weight: str | None
) -> None:
    X, y = shuffled(*clouds())
    y[:50] = 0  # far more of one class
    cache = written_cache(tmp_path / "c", X, ["abc"[i] for i in y], split=half(240))
    options: dict[str, Any] = {"scaling": scaling, "class_weight": class_weight}
    done = run(cache, clf, c=(0.1,), cv=0, **options)
    learnt, targets, unseen, true = sides(X.astype(np.float64), y)
    model = by_sklearn(clf, 0.1, scaling, class_weight=class_weight).fit(learnt, targets)
    # ½‖w − w*‖² is at most the gap, a ten-thousandth of the objective.
    allowed = np.sqrt(2e-4 * done.solution.objective.sum())
    assert np.linalg.norm(done.head.coef - model[-1].coef_) <= allowed
    predicted = done.head.decision_function(unseen).argmax(axis=1)
    assert (predicted == model.predict(unseen)).mean() > 0.97
    assert score_of(done).accuracy == pytest.approx((predicted == true).mean())
    np.testing.assert_array_equal(
        score_of(done).confusion,
        [[np.sum((true == i) & (predicted == j)) for j in range(3)] for i in range(3)],
    )


# The held-out split is touched once, after the choice


def test_held_out_rows_decide_nothing_but_their_own_score(tmp_path: Path) -> None:
    X, y = shuffled(*clouds())
    X_other, y_other = X.copy(), y.copy()
    held_out = np.arange(240) % 3 == 2
    X_other[held_out] *= 1000
    y_other[held_out] = (y[held_out] + 1) % 3
    done, other = (
        run(
            written_cache(tmp_path / name, codes, ["abc"[i] for i in labels], split=half(240)),
            scaling="auto",
            c=None,
            cv=2,
        )
        for name, codes, labels in [("one", X, y), ("other", X_other, y_other)]
    )
    assert other.search == done.search
    for name in ("coef", "intercept"):
        np.testing.assert_array_equal(getattr(other.head, name), getattr(done.head, name))
    assert done.head.calibration is not None
    assert other.head.calibration is not None
    np.testing.assert_array_equal(other.head.calibration.slope, done.head.calibration.slope)
    one, two = told(done), told(other)
    assert one.pop("heldout") != two.pop("heldout")
    assert one == two


def test_the_held_out_split_is_judged_once(split: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    margins = Head.decision_function

    def spy(self: Head, codes: NDArray[Any]) -> NDArray[np.float64]:
        calls.append(f"{len(codes)} rows")
        return margins(self, codes)

    monkeypatch.setattr(Head, "decision_function", spy)
    run(split)
    assert calls == ["80 rows"]


def test_without_splits_all_rows_train_and_none_judges(tmp_path: Path) -> None:
    X, y = clouds(n=60)
    done = run(written_cache(tmp_path / "c", X, ["abc"[i] for i in y]))
    assert (done.train, done.heldout) == (60, None)
    assert done.to_dict()["heldout"] is None
    assert done.ece is not None


def test_a_bad_held_out_label_is_refused_before_the_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    X, y = clouds(n=60)
    labels = ["abc"[i] for i in y]
    labels[2::3] = ["z"] * 20
    cache = written_cache(tmp_path / "c", X, labels, split=half(60))

    def never(*_: Any, **__: Any) -> Any:
        raise AssertionError("trained")

    monkeypatch.setattr(ClassifierOptions, "prepare", never)
    with pytest.raises(LabelsError, match="'z'"):
        run(cache)


# What is read


def test_each_shard_and_the_table_of_images_are_read_once(
    split: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads: Counter[str] = Counter()
    read_csv, read_checked = ImageTable.read_csv, Cache.read_checked

    def shard_spy(cache: Cache, layer: SeriesLike, shard: int) -> NDArray[Any]:
        reads[f"{shard:05d}.h5"] += 1
        return read_checked(cache, layer, shard)

    def csv_spy(path: Path, **known: Any) -> ImageTable:
        reads[path.name] += 1
        return read_csv(path, **known)

    monkeypatch.setattr(Cache, "read_checked", shard_spy)
    monkeypatch.setattr(ImageTable, "read_csv", csv_spy)
    run(split, scaling="auto")
    assert reads == {"images.csv": 1, **{f"{shard:05d}.h5": 1 for shard in range(5)}}


@pytest.mark.parametrize("clf", ["svm", "softmax"])
def test_little_memory_gives_the_same_head(
    split: Path, clf: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_once = run(split, clf, memory=1 << 30, c=(1e-2, 1e-1), cv=2)
    monkeypatch.setattr(Cache, "read_codes", None)  # of all rows at once
    streamed = run(split, clf, memory=1 << 12, c=(1e-2, 1e-1), cv=2)  # two copies do not fit
    assert streamed.c == at_once.c
    for name in ("coef", "intercept"):
        np.testing.assert_allclose(
            getattr(streamed.head, name), getattr(at_once.head, name), atol=1e-3
        )
    assert score_of(streamed).accuracy == pytest.approx(score_of(at_once).accuracy, abs=0.02)


def test_codes_that_do_not_fit_into_memory_are_one_line(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise RuntimeError("CUDA error: can't allocate memory:\n2 GiB")

    monkeypatch.setattr("bottleneck.fitting.fit.train", full)
    with pytest.raises(DeviceMemoryError, match=r"more memory than there is .*smaller `memory`"):
        run(cache, layers="layer2")


def test_rejected_and_removed_images_are_left_out(photos: Path, extract_tiny: Extract) -> None:
    (photos / "train" / "ants" / "ants000.jpg").write_bytes(b"no image")
    extract_tiny(photos)
    (photos / "train" / "bees" / "bees000.jpg").unlink()
    done = run(extract_tiny(photos).cache.path)
    assert done.train == 22


# Other labels for the same codes


def write_labels(path: Path, header: str, lines: list[str]) -> Path:
    path.write_text("\n".join([header, *lines]) + "\n")
    return path


def test_labels_of_a_csv_are_learned_without_extraction(tmp_path: Path, split: Path) -> None:
    y = np.arange(240) % 2
    lines = [f"{row:03d}.jpg,{'xy'[y[row]]}" for row in range(240)]
    labels = write_labels(tmp_path / "labels.csv", "path,label", lines)
    before = {path: path.read_bytes() for path in split.rglob("*.*")}
    done = run(split, labels=labels)
    assert {path: path.read_bytes() for path in split.rglob("*.*")} == before
    assert done.head.classes == ["x", "y"]
    assert (done.train, score_of(done).n) == (160, 80)  # its splits are the cache's still
    assert done.search is not None
    assert done.search.best.mean < 0.7  # these labels have nothing to do with the codes


def test_a_csv_brings_its_own_splits(tmp_path: Path, split: Path) -> None:
    names = ["train"] * 90 + ["val"] * 30
    lines = [f"{row:03d}.jpg,{'xy'[row % 2]},{names[row]}" for row in range(120)]
    labels = write_labels(tmp_path / "labels.csv", "path,label,split", lines)
    done = run(split, labels=labels)
    assert (done.train, score_of(done).split, score_of(done).n) == (90, "val", 30)


@pytest.mark.parametrize("of", ["cache", "csv"])
def test_groups_keep_together(tmp_path: Path, of: str) -> None:
    """Every row has a copy in its group, and labels are noise: apart, they tell nothing."""
    random = np.random.default_rng(0)
    X, y = np.repeat(random.normal(size=(60, 200)), 2, axis=0), np.repeat(np.arange(60) % 2, 2)
    labels, groups = ["ab"[i] for i in y], [f"slide{row // 2}" for row in range(120)]
    cache = written_cache(tmp_path / "c", X, labels, group=groups if of == "cache" else None)
    csv = None
    if of == "csv":
        lines = [f"{row:03d}.jpg,{labels[row]},{groups[row]}" for row in range(120)]
        csv = write_labels(tmp_path / "labels.csv", "path,label,group", lines)
    apart = run(cache, c=(10.0,), labels=csv)
    leaking = run(written_cache(tmp_path / "leaking", X, labels), c=(10.0,))
    assert apart.search is not None
    assert leaking.search is not None
    assert apart.search.best.mean < 0.65
    assert leaking.search.best.mean > 0.8
    assert score_free_ece(apart) < 0.2  # and no such margin makes a probability


def test_the_held_out_interval_is_over_the_groups_of_a_csv(tmp_path: Path) -> None:
    X, y = clouds(120, 3, 2, apart=0.5)
    labels, split = ["ab"[i] for i in y], ["test" if row < 40 else "train" for row in range(120)]
    cache = written_cache(tmp_path / "c", X, labels, split=split)
    lines = [f"{row:03d}.jpg,{labels[row]},patient{row // 10}" for row in range(120)]
    csv = write_labels(tmp_path / "labels.csv", "path,label,patient", lines)
    done = run(cache, c=(1.0,), labels=csv)
    predicted = done.head.decision_function(X[:40]).argmax(axis=1)
    expected = accuracy_interval(predicted == y[:40], np.arange(40) // 10)
    assert (score_of(done).groups, score_of(done).ci95) == (4, expected)
    assert score_of(run(cache, c=(1.0,))).groups is None


def score_free_ece(done: FitResult) -> float:
    assert done.ece is not None
    return done.ece


# Several labels an image


@pytest.mark.parametrize("clf", ["svm", "softmax"])
def test_several_labels_from_a_csv(tmp_path: Path, clf: str) -> None:
    X, targets = several()
    lines = [
        f"{row:03d}.jpg,{'|'.join(np.array([*'abc'])[has])},{half(240)[row]}"
        for row, has in enumerate(targets)
    ]
    labels = write_labels(tmp_path / "labels.csv", "path,label,split", lines)
    cache = written_cache(tmp_path / "c", X, ["whatever"] * 240)
    done = run(cache, clf, labels=labels)
    assert (done.head.multilabel, done.head.classes) == (True, ["a", "b", "c"])
    assert told(done)["cv"]["metric"] == "mean_average_precision"
    learnt, true_learnt, unseen, true = sides(X.astype(np.float64), targets)
    margins = done.head.decision_function(unseen)
    for label in range(3):
        model = by_sklearn(clf, done.c).fit(learnt, true_learnt[:, label])
        # But for the intercept: where a label is as likely as not, its margin is 0.
        assert np.ptp(margins[:, label] - model.decision_function(unseen)) < 0.1
    np.testing.assert_array_equal(margins > 0, done.head.predict_scores(margins) > 0.5)
    found = done.heldout
    assert isinstance(found, MultilabelScore)
    assert (found.split, found.n) == ("test", 80)
    assert found.mean_average_precision == pytest.approx(average_precision_score(true, margins))
    assert found.accuracy == pytest.approx(((margins > 0) == true).all(axis=1).mean())
    recalls = [np.mean(margins[true[:, k], k] > 0) for k in range(3)]
    assert found.mean_per_class == pytest.approx(np.mean(recalls))
    probabilities = done.head.predict_scores(margins)
    assert done.head.calibration is not None
    assert done.head.calibration.independent
    assert found.ece == pytest.approx(ece_by_hand(probabilities, true, margins > 0))
    assert np.abs(probabilities.sum(axis=1) - 1).max() > 0.1  # each has one of its own


@pytest.mark.parametrize("clf", ["svm", "softmax"])
def test_a_small_c_does_not_keep_labels_from_being_given(tmp_path: Path, clf: str) -> None:
    X, targets = several()
    named = ["|".join(np.array([*"abc"])[has]) for has in targets]
    cache = written_cache(tmp_path / "c", X, named, split=half(240))
    learnt, true_learnt, unseen, true = sides(X.astype(np.float64), targets)
    found = run(cache, clf, c=(1e-3,)).head.decision_function(unseen) > 0
    assert np.abs(found.mean(axis=0) - true.mean(axis=0)).max() < 0.15
    weighted = run(cache, clf, c=(1e-3,), class_weight="balanced").head.decision_function(unseen)
    for label in range(3):
        model = by_sklearn(clf, 1e-3, class_weight="balanced").fit(learnt, true_learnt[:, label])
        expected = model.decision_function(unseen)
        np.testing.assert_allclose(weighted[:, label], expected, atol=0.03)


# Two classes


@pytest.mark.parametrize("clf", ["svm", "softmax"])
def test_two_classes_have_a_row_of_coefficients_each(tmp_path: Path, clf: str) -> None:
    X, y = shuffled(*clouds(k=2))
    cache = written_cache(tmp_path / "c", X, ["ab"[i] for i in y], split=half(240))
    done = run(cache, clf, c=(0.1,))
    learnt, targets, unseen, true = sides(X.astype(np.float64), y)
    model = by_sklearn(clf, 0.1).fit(learnt, targets)
    assert done.head.coef.shape == (2, 6)
    margins = done.head.decision_function(unseen)
    np.testing.assert_allclose(margins[:, 0], -margins[:, 1])
    # softmax of ∓m/2 has the ratio that the logistic of m has
    twice = 2 if clf == "softmax" else 1
    np.testing.assert_allclose(margins[:, 1] * twice, model.decision_function(unseen), atol=0.03)
    probabilities = done.head.predict_scores(margins)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1)
    assert score_of(done).ece == pytest.approx(ece_by_hand(probabilities, true))


# Probabilities


def ece_by_hand(
    probabilities: NDArray[np.float64],
    true: NDArray[Any],
    predicted: NDArray[np.bool_] | None = None,
) -> float:
    """Guo et al.'s equation 3 with 15 bins, each with its right edge."""
    if predicted is None:
        confidence, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == true
    else:
        confidence = np.where(predicted, probabilities, 1 - probabilities).ravel()
        right = (predicted == true).ravel()
    total = 0.0
    for low in np.arange(15) / 15:
        here = (confidence > low) & (confidence <= low + 1 / 15)
        if here.any():
            total += here.mean() * abs(right[here].mean() - confidence[here].mean())
    return total


def test_probabilities_of_an_svm_are_fitted_on_validation_rows(split: Path) -> None:
    done = run(split)
    X, y = shuffled(*clouds())
    learnt, targets, unseen, true = sides(X, y)
    search = SearchOptions(c=GRID, cv=4)
    validation = CrossValidation(training(learnt, targets), ClassifierOptions("svm"), search)
    assert validation.select() == done.search
    expected, margins = validation.calibrate(done.c, "standardize")
    assert done.head.calibration is not None
    np.testing.assert_allclose(done.head.calibration.slope, expected.slope)
    assert done.ece == pytest.approx(ece_by_hand(expected.probabilities(margins), targets))
    probabilities = done.head.predict_scores(done.head.decision_function(unseen))
    assert score_of(done).ece == pytest.approx(ece_by_hand(probabilities, true))
    assert told(done)["heldout"]["ece"] == score_of(done).ece


def test_a_softmaxs_probabilities_are_its_own_without_folds(split: Path) -> None:
    done = run(split, "softmax", c=(0.1,), cv=0)
    learnt, targets, unseen, true = sides(*shuffled(*clouds()))
    model = by_sklearn("softmax", done.c).fit(learnt, targets)
    probabilities = done.head.predict_scores(done.head.decision_function(unseen))
    np.testing.assert_allclose(probabilities, model.predict_proba(unseen), atol=0.02)
    assert score_of(done).ece == pytest.approx(ece_by_hand(probabilities, true))


def test_a_softmax_that_is_held_too_small_has_a_temperature_of_the_folds(tmp_path: Path) -> None:
    X, y = shuffled(*clouds())
    cache = written_cache(tmp_path / "c", X, ["abc"[i] for i in y], split=half(len(y)))
    done, plain = (run(cache, "softmax", c=(1e-3,), cv=cv) for cv in (5, 0))
    assert done.ece is not None
    assert done.ece < 0.08
    before, after = score_of(plain).ece, score_of(done).ece
    assert before is not None
    assert after is not None
    assert after < before / 2
    np.testing.assert_array_equal(done.head.coef, plain.head.coef)  # classes stay as they are


@pytest.mark.parametrize("k", [2, 3])
@pytest.mark.parametrize("clf", ["svm", "softmax"])
def test_the_temperature_is_that_of_the_heads_own_values(tmp_path: Path, clf: str, k: int) -> None:
    """Those of a head in a fold, by scikit-learn: of two classes -m and m, or -m/2 and m/2."""
    random = np.random.default_rng(0)
    y = random.integers(0, k, 600)
    X = (random.normal(size=(600, 5)) + 0.6 * np.eye(k, 5)[y]).astype(np.float32)
    cache = written_cache(tmp_path / "c", X, ["abc"[i] for i in y], split=half(600))
    done = run(cache, clf, c=(1.0,), scaling="none")
    learnt, targets, unseen, true = sides(X, y)
    folds = StratifiedKFold(5, shuffle=True, random_state=0)
    model = by_sklearn(clf, 1.0)
    values = cross_val_predict(model, learnt, targets, cv=folds, method="decision_function")
    if k == 2:
        share = 0.5 if clf == "softmax" else 1.0
        values = share * np.stack([-values, values], axis=1)
    assert done.head.calibration is not None
    expected = fit_temperature(values, targets).slope[0]
    np.testing.assert_allclose(done.head.calibration.slope, expected, rtol=0.03)
    probabilities = done.head.predict_scores(done.head.decision_function(unseen))
    logistic = by_sklearn("softmax", 1.0).fit(learnt, targets).predict_proba(unseen)
    assert log_loss(true, probabilities) < log_loss(true, logistic) + 0.01


@pytest.mark.parametrize(("clf", "known"), [("svm", False), ("softmax", True)])
def test_without_folds_only_softmax_has_probabilities(split: Path, clf: str, known: bool) -> None:
    done = run(split, clf, c=(0.5,), cv=0)
    assert (done.search, done.c, done.ece) == (None, 0.5, None)
    assert (done.head.calibration is not None) == known
    assert (score_of(done).ece is not None) == known
    assert told(done)["cv"] is None


# What it says


@pytest.mark.parametrize("sklearn", [False, True])
@pytest.mark.parametrize("clf", ["svm", "softmax"])
def test_the_json_has_what_is_promised(split: Path, clf: str, sklearn: bool) -> None:
    found = told(run(split, clf, sklearn=sklearn))
    assert found.keys() == {
        *("clf", "layer", "layers", "views", "shares", "c", "preprocess", "cv", "heldout", "ece"),
        *("train", "converged", "gap", "nested", "class_weight", "no_heldout"),
    }
    assert found["cv"].keys() >= {"mean", "std", "folds", "metric"}
    assert found["heldout"].keys() >= {"split", "n", "accuracy", "ci95", "mean_per_class", "ece"}
    assert (found["clf"], found["layer"], found["train"]) == (clf, "layer", 160)
    assert found["c"] in GRID
    assert (found["gap"] is None) == sklearn
    assert found["converged"] is True


def test_both_solvers_make_the_same_head(split: Path) -> None:
    ours, theirs = (run(split, sklearn=sklearn) for sklearn in (False, True))
    assert ours.c == theirs.c
    np.testing.assert_allclose(ours.head.coef, theirs.head.coef, atol=0.02)
    assert score_of(ours).accuracy == pytest.approx(score_of(theirs).accuracy, abs=0.02)


def test_a_solver_that_stops_early_is_not_converged(
    split: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reference, "_ITERATIONS", 1)
    done = run(split, "softmax", sklearn=True)
    assert not done.converged
    assert told(done)["converged"] is False


def test_the_record_is_in_the_head(split: Path, tmp_path: Path) -> None:
    done = run(split)
    done.head.save(tmp_path / "head")
    told = done.to_dict()
    del told["heldout"]["confusion"]
    assert Head.load(tmp_path / "head").training_record == told
    assert done.seconds > 0


@pytest.mark.parametrize("class_weight", [None, "balanced"])
def test_a_head_knows_its_class_weight(
    class_weight: Literal["balanced"] | None, split: Path, tmp_path: Path
) -> None:
    options = ClassifierOptions("svm", class_weight=class_weight)
    fit(split, options, search=SearchOptions(c=1.0, cv=0)).head.save(tmp_path / "head")
    head = Head.load(tmp_path / "head")
    assert head.training_record["class_weight"] == class_weight
    assert head.options == options
    older = {key: each for key, each in head.training_record.items() if key != "class_weight"}
    dataclasses.replace(head, training_record=older).save(tmp_path / "older")
    assert Head.load(tmp_path / "older").options == ClassifierOptions("svm")


def test_the_preprocessing_that_the_folds_chose_is_the_heads(tmp_path: Path) -> None:
    X, y = clouds(n=120, k=2, apart=3)
    X *= 10 ** np.random.default_rng(0).uniform(-2, 2, size=(120, 1)).astype(np.float32)
    cache = written_cache(tmp_path / "c", X, ["ab"[i] for i in y])
    done = run(cache, scaling="auto", c=(0.1, 1.0))
    assert done.search is not None
    assert done.head.scaler.name == done.search.best.scaling == "l2"
    assert told(done)["preprocess"] == "l2"
    learnt = by_sklearn("svm", done.c, "l2").fit(X.astype(np.float64), y)
    np.testing.assert_allclose(
        done.head.decision_function(X)[:, 1],
        learnt.decision_function(X.astype(np.float64)),
        atol=0.03,
    )


def test_the_metric_and_the_rule_reach_the_choice(tmp_path: Path) -> None:
    X, y = clouds(n=300, k=2)
    y[np.random.default_rng(0).random(300) < 0.7] = 0
    cache = written_cache(tmp_path / "c", X, ["ab"[i] for i in y])
    plain, balanced, cautious = (
        run(cache, c=(1e-4, 1e-2, 1.0), **options)
        for options in ({}, {"metric": "balanced"}, {"metric": "balanced", "rule": "1se"})
    )
    assert told(balanced)["cv"]["metric"] == "balanced"
    assert told(plain)["cv"]["metric"] == "accuracy"
    assert balanced.search is not None
    assert cautious.search is not None
    near = balanced.search.best.mean - balanced.search.best.standard_error
    rivals = [found.c for found in balanced.search.candidates if found.mean >= near]
    assert cautious.c == min(rivals)


def test_fitting_a_dataset_is_the_same(split: Path) -> None:
    cache = open_cache(split)
    lesson = load_dataset(cache, Features(("layer",)), cache.images)
    done = fit_dataset(lesson, ClassifierOptions("svm"), SearchOptions(c=GRID, cv=4))
    assert told(done) == told(run(split))


# Refusals


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"clf": "forest"}, UnknownNameError, "unknown classifier 'forest'"),
        ({"metric": "loss"}, UnknownNameError, "unknown metric 'loss'"),
        (
            {"scaling": "whiten"},
            InvalidOptionError,
            f"'whiten'.*{', '.join(SCALINGS)}, or auto",
        ),
        ({"c": (1.0, 0.0)}, InvalidOptionError, r"^`c=0.0`: must be a number above 0"),
        ({"cv": 1}, InvalidOptionError, "^`cv=1`: must be at least 2 folds"),
        ({"cv": -3}, InvalidOptionError, "^`cv=-3`: must be at least 2 folds"),
        (
            {"cv": 0},
            InvalidOptionError,
            "^`cv=0`: .* among 3 values of C: or give one value of `c`",
        ),
        ({"cv": 0, "c": None}, InvalidOptionError, "^`cv=0`: .* among a whole grid of C"),
        (
            {"cv": 0, "c": (1.0,), "scaling": "auto"},
            InvalidOptionError,
            "^`cv=0`: .* a scaling: or give one `scaling`: standardize, sqrt, l2, none",
        ),
    ],
)
def test_wrong_options_are_refused_before_anything_is_read(
    tmp_path: Path, options: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        run(tmp_path / "absent", **options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"clf": None}, "`clf=None`: must be svm, softmax, or ClassifierOptions"),
        ({"clf": LinearSVC()}, r"`clf=LinearSVC\(\)`: .*`cache.load` gives codes and labels"),
        ({"layers": [1]}, "`layers=1`: must be names of layers, which are texts"),
        ({"memory": "8G"}, "`memory='8G'`: must be a whole number"),
        ({"labels": {"000.jpg": "ants"}}, "`labels='dict'`: must be a CSV .*`to_csv` writes one"),
    ],
)
def test_arguments_of_another_type_are_refused_by_name(
    split: Path, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(InvalidOptionError, match=message):
        fit(split, **({"clf": "svm"} | options))


def test_splits_without_train_are_refused(photos: Path, extract_tiny: Extract) -> None:
    shutil.rmtree(photos / "train")
    write_photographs(photos / "test" / "ants", 3, label="ants")
    cache = extract_tiny(photos).cache.path
    with pytest.raises(LabelsError, match="no image is in split 'train'; found test, val"):
        run(cache)


def test_one_class_is_refused_and_says_what_it_found(photos: Path, extract_tiny: Extract) -> None:
    for label in ("bees", "wasps"):
        shutil.rmtree(photos / "train" / label)
    with pytest.raises(
        LabelsError, match=r"at least 2 classes in split 'train', found 'ants' \(8 im"
    ):
        run(extract_tiny(photos).cache.path)


def test_images_without_labels_are_refused(tmp_path: Path, extract_tiny: Extract) -> None:
    write_photographs(tmp_path / "flat", 4, label="ants")
    with pytest.raises(LabelsError, match="found no labelled image"):
        run(extract_tiny(tmp_path / "flat").cache.path)


def test_unlabelled_rows_are_left_out(photos: Path, extract_tiny: Extract) -> None:
    write_photographs(photos / "train", 2, label="ants")
    assert run(extract_tiny(photos).cache.path).train == 24


def test_an_unfinished_cache_is_refused(split: Path) -> None:
    open_cache(split).shard_path("layer", 0).unlink()
    with pytest.raises(CacheError, match="lacks 1 of 5 shards"):
        run(split)


def test_a_layer_must_be_chosen_among_several(cache: Path) -> None:
    with pytest.raises(InvalidOptionError, match=r"the 2 layers .*\(layer2, layer3\).*sweep"):
        run(cache)


@pytest.mark.parametrize("nested", [False, True])
def test_progress_counts_every_classifier_up_to_the_most_there_may_be(
    split: Path, nested: bool
) -> None:
    told: list[Progress] = []
    search = SearchOptions(c=[0.1, 1.0], cv=2, nested=nested)
    fit(split, "svm", search=search, on_progress=told.append)
    fits = 2 * (2 + 1) + 1  # in each fold two and the calibration's; then all rows
    total = 3 * fits if nested else fits
    assert told == [Progress(n, total, "fits at most") for n in [*range(total + 1), total]]


def test_the_progress_of_a_search_ends_with_it(split: Path) -> None:
    told: list[Progress] = []
    result = fit(split, "svm", on_progress=told.append)
    assert result.search is not None
    done = [progress.done for progress in told]
    fits = result.search.folds * (len(result.search.candidates) + 1) + 1
    assert done[:-1] == list(range(fits + 1))
    assert {progress.total for progress in told} == {done[-1]}
    assert fits <= done[-1]
