import json
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.preprocessing import StandardScaler

from bottleneck.cache.format.series import Series
from bottleneck.cache.format.shard_writer import write_shard
from bottleneck.cache.store import Cache, open_cache
from bottleneck.data.resizing.view_recipe import ViewRecipe
from bottleneck.errors import CacheError, InvalidOptionError, UnknownNameError
from bottleneck.fitting.fit import fit
from bottleneck.fitting.heads.head import Head
from bottleneck.fitting.loading.features import Features, require_layers, resolve_features
from bottleneck.fitting.loading.sharded_matrix import ShardedMatrix
from bottleneck.fitting.selection.folds import stratified_groups
from bottleneck.fitting.selection.options import SearchOptions
from bottleneck.linear import classifiers
from bottleneck.linear.calibration import fit_temperature
from bottleneck.linear.scaling import SCALINGS
from bottleneck.linear.training import ClassifierOptions
from tests.helpers.datasets import MODELS, SCALERS, cache_of_layers, clouds, several, written_cache
from tests.helpers.shards import read_shard

CODES = np.arange(24, dtype=np.float32).reshape(12, 2)
LABELS = ["a", "b"] * 6


def test_the_only_layer_need_not_be_named(tmp_path: Path) -> None:
    cache = open_cache(written_cache(tmp_path, CODES, LABELS))
    for layers in (None, (), "layer", ["layer"], "all"):
        assert resolve_features(cache, layers) == Features(("layer",))


def test_layers_are_chosen_among_those_that_there_are(tmp_path: Path) -> None:
    cache = open_cache(written_cache(tmp_path, CODES, LABELS, layers=["layer2", "layer3"]))
    assert resolve_features(cache, "layer3") == Features(("layer3",))
    assert resolve_features(cache, ["layer3", "layer2", "layer3"]).layers == ("layer3", "layer2")
    array, number = (cast("Any", given) for given in (np.array(["layer3", "layer2"]), 3))
    assert resolve_features(cache, array).layers == ("layer3", "layer2")
    with pytest.raises(InvalidOptionError, match="`layers=3`: must be names of layers"):
        resolve_features(cache, number)
    assert resolve_features(cache, "all").layers == ("layer2", "layer3")
    assert resolve_features(cache, ["layer3", "all"]).layers == ("layer3", "layer2")
    with pytest.raises(UnknownNameError, match=r"'layr3': did you mean layer3.*extract"):
        resolve_features(cache, "layr3")
    with pytest.raises(UnknownNameError, match="'layer4'"):
        resolve_features(cache, ["layer3", "layer4"])
    with pytest.raises(
        InvalidOptionError, match=r"the 2 layers .*\(layer2, layer3\), or all.*sweep"
    ):
        resolve_features(cache, None)


def test_all_layers_are_without_maps_that_are_kept_beside_codes(tmp_path: Path) -> None:
    layers = ["layer2", "layer2@2x2", "layer2@none"]
    cache = open_cache(written_cache(tmp_path / "both", CODES, LABELS, layers=layers))
    assert resolve_features(cache, "all").layers == ("layer2", "layer2@2x2")
    assert resolve_features(cache, ["layer2@none", "all"]).layers[0] == "layer2@none"
    maps = open_cache(written_cache(tmp_path / "maps", CODES, LABELS, layers=["a@none", "b@none"]))
    assert resolve_features(maps, "all").layers == ("a@none", "b@none")
    spec = replace(cache.spec, pool="none")
    plain = replace(cache, manifest=replace(cache.manifest, spec=spec))
    assert require_layers(plain, ["all"]) == ("layer2", "layer2@2x2")  # maps are all it has


def test_poolings_may_be_spelt_as_extract_takes_them(tmp_path: Path) -> None:
    path = written_cache(tmp_path / "both", CODES, LABELS, layers=["layer2", "layer2@2x2"])
    cache = open_cache(path)
    assert resolve_features(cache, ["layer2@2", "layer2@avg"]).layers == ("layer2@2x2", "layer2")
    assert cache.status(["layer2@2"]).complete
    assert list(cache.status(["layer2@avg"]).layers) == ["layer2"]


def test_a_layer_may_be_called_all(tmp_path: Path) -> None:
    cache = open_cache(written_cache(tmp_path, CODES, LABELS, layers=["all", "layer3"]))
    assert resolve_features(cache, "all").layers == ("all",)


def test_a_cache_without_layers_is_refused(tmp_path: Path) -> None:
    cache = open_cache(written_cache(tmp_path / "cache", CODES, LABELS, layers=[]))
    for layers in (None, "all"):
        with pytest.raises(InvalidOptionError, match=r"0 layers.*none is extracted yet"):
            resolve_features(cache, layers)
    assert require_layers(cache, ["all"]) == ()


def test_all_views_that_every_layer_has_are_the_default(tmp_path: Path) -> None:
    cache = open_cache(cache_of_layers(tmp_path, {"a": [CODES] * 3, "b": [CODES] * 3}, LABELS))
    for file in (tmp_path / "codes" / "b@2").iterdir():
        file.unlink()
    (tmp_path / "codes" / "b@2").rmdir()
    recipe = ViewRecipe()
    assert resolve_features(cache, "a") == Features(("a",), 3, recipe)
    assert resolve_features(cache, "all") == Features(("a", "b"), 2, recipe)
    assert resolve_features(cache, "all", 1) == Features(("a", "b"))
    with pytest.raises(CacheError, match=r"'b' has no view 2: `bottleneck.extract` with `views=3`"):
        resolve_features(cache, "all", 3).valid_rows(cache)
    for wrong in (0, -1, 2.0, True):
        with pytest.raises(InvalidOptionError, match=r"`views=.*a whole number above 0, or all"):
            resolve_features(cache, "a", wrong)  # type: ignore[arg-type]


def test_views_of_a_cache_without_any_are_refused(tmp_path: Path) -> None:
    cache = open_cache(written_cache(tmp_path, CODES, LABELS))
    assert resolve_features(cache, None).views == 1
    with pytest.raises(InvalidOptionError, match="`views=2`: must be 1: there are no views"):
        resolve_features(cache, None, 2)


# Rows

N, SHARD, V = 90, 50, 3
Y = clouds(N)[1]
SPLIT = ["test" if i % 3 == 1 and i % 2 else "train" for i in range(N)]
CELL = np.arange(N) // 6
GROUP = [f"cell{number}" for number in CELL]


def folds_of(train: NDArray[np.int64]) -> list[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Training and validation places of three folds of some images, whose cells stay together."""
    groups = np.unique(CELL[train], return_inverse=True)[1]
    fold = stratified_groups(Y[train], groups, 3, 3)
    return [(np.flatnonzero(fold != i), np.flatnonzero(fold == i)) for i in range(3)]


def of_views(d: int, seed: int) -> list[NDArray[np.float32]]:
    """Codes of the same images as each view shows them."""
    plain = clouds(N, d, apart=1.2, seed=seed)[0]
    random = np.random.default_rng(seed)
    views = [plain * random.uniform(0.3, 1.7, size=plain.shape) for _ in range(V - 1)]
    return [plain, *(view.astype(np.float32) for view in views)]


LAYERS = {"shallow": of_views(6, 1), "deep": of_views(4, 2)}


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("several") / "cache"
    labels = ["abc"[k] for k in Y]
    columns = {"split": SPLIT, "group": GROUP, "shard_size": SHARD}
    return cache_of_layers(path, LAYERS, labels, **columns)


def side_by_side(views: int = V) -> NDArray[np.float32]:
    """Rows of all images, shape (N, views, d)."""
    joined = [np.stack(layer[:views], axis=1) for layer in LAYERS.values()]
    return np.concatenate(joined, axis=2)


BOTH = Features(("shallow", "deep"), V, ViewRecipe())


@pytest.mark.parametrize("block", [1, 7, 100])
@pytest.mark.parametrize("features", [BOTH, BOTH.with_views(1), replace(BOTH, layers=("deep",))])
def test_rows_are_views_of_layers_side_by_side(cache: Path, features: Features, block: int) -> None:
    rows = np.array([0, 3, 49, 50, 51, 59, 88])
    expected = side_by_side(features.views)[rows]
    if features.layers == ("deep",):
        expected = expected[:, :, 6:]
    expected = expected.reshape(-1, expected.shape[2])
    opened = open_cache(cache)
    np.testing.assert_array_equal(features.read(opened, rows), expected)
    matrix = ShardedMatrix(opened, features, rows, expected.shape[1], block)
    assert matrix.shape == expected.shape
    blocks = list(matrix.blocks())
    assert all(len(block) % features.views == 0 for block in blocks)
    np.testing.assert_array_equal(np.concatenate(blocks), expected)
    taken = matrix.take(np.arange(features.views, 3 * features.views))
    part = expected[features.views : 3 * features.views]
    np.testing.assert_array_equal(np.concatenate(list(taken.blocks())), part)
    means = np.concatenate(list(matrix.averaged(features.views).blocks()))
    np.testing.assert_allclose(means, expected.reshape(7, features.views, -1).mean(1), rtol=1e-6)


def reject(cache: Cache, series: Series, row: int) -> None:
    """Say that a row of a series gave no codes."""
    path = cache.shard_path(series, row // cache.layout.shard_size)
    old = read_shard(path)
    valid = old.row != row
    reason = ["" if ok else "broken" for ok in valid]
    write_shard(
        path, replace(old, valid=valid, reason=reason), manifest=cache.manifest, series=series
    )


def test_an_image_without_codes_in_one_view_or_layer_is_left_out(tmp_path: Path) -> None:
    path = cache_of_layers(tmp_path, {"a": [CODES] * 2, "b": [CODES] * 2}, LABELS, shard_size=4)
    reject(open_cache(path), Series("a", 1), 5)
    reject(open_cache(path), Series("b"), 2)
    opened, features = open_cache(path), Features(("a", "b"), 2, ViewRecipe())
    assert np.flatnonzero(~features.valid_rows(opened)).tolist() == [2, 5]
    assert set(features.rejected(opened)) == {2, 5}
    assert features.with_views(1).valid_rows(opened).sum() == 11


# Fits, beside scikit-learn


def by_hand(
    train: NDArray[np.int64], others: NDArray[np.int64], *, clf: str, c: float, scaling: str
) -> tuple[NDArray[np.float64], NDArray[np.float64], Any]:
    """Decision values of other images by the mean of their views, and by their plain view."""
    X = side_by_side().astype(np.float64)
    parts = []
    for columns in (slice(0, 6), slice(6, 10)):
        width = columns.stop - columns.start
        scaler = SCALERS[scaling]().fit(X[train][:, :, columns].reshape(-1, width))
        parts.append(scaler.transform(X[:, :, columns].reshape(-1, width)).reshape(N, V, width))
    scaled = np.concatenate(parts, axis=2) / np.sqrt(2)
    rows, y = scaled[train].reshape(-1, 10), np.repeat(Y[train], V)
    model = MODELS[clf](C=c).fit(rows, y, sample_weight=np.full(len(y), 1 / V))
    values = model.decision_function(scaled[others].reshape(-1, 10)).reshape(-1, V, 3)
    return values.mean(axis=1), values[:, 0], model


@pytest.mark.parametrize(
    ("clf", "scaling"),
    [
        *(("svm", scaling) for scaling in SCALINGS),
        ("softmax", "standardize"),
        *(
            pytest.param("softmax", scaling, marks=pytest.mark.slow)
            for scaling in ("sqrt", "l2", "none")
        ),
    ],
)
def test_several_layers_and_views_are_what_scikit_learn_makes_of_them(
    cache: Path, clf: str, scaling: str
) -> None:
    cs = (0.03, 1.0)
    search = SearchOptions(c=cs, cv=3, scaling=scaling)
    done = fit(cache, clf, layers=["shallow", "deep"], search=search)
    train = np.flatnonzero(np.array(SPLIT) == "train")
    heldout = np.flatnonzero(np.array(SPLIT) == "test")
    assert done.train == len(train)
    assert done.search is not None
    for candidate in done.search.candidates:
        for score, (rows, validation) in zip(candidate.scores, folds_of(train), strict=True):
            values, _, _ = by_hand(
                train[rows], train[validation], clf=clf, c=candidate.c, scaling=scaling
            )
            expected = (values.argmax(axis=1) == Y[train[validation]]).mean()
            assert score == pytest.approx(expected, abs=1.01 / len(validation))
    values, plain, model = by_hand(train, heldout, clf=clf, c=done.c, scaling=scaling)
    np.testing.assert_allclose(done.head.coef, model.coef_, atol=0.02)
    assert done.heldout is not None
    assert (done.heldout.n, done.heldout.views) == (len(heldout), V)
    accuracy = (values.argmax(axis=1) == Y[heldout]).mean()
    assert done.heldout.accuracy == pytest.approx(accuracy, abs=1.01 / len(heldout))
    accuracy = (plain.argmax(axis=1) == Y[heldout]).mean()
    assert done.heldout.plain == pytest.approx(accuracy, abs=1.01 / len(heldout))
    codes = side_by_side()[heldout].reshape(-1, 10)
    np.testing.assert_allclose(done.head.decision_function(codes), values, atol=0.05)


def test_probabilities_are_calibrated_on_the_mean_of_the_views(cache: Path) -> None:
    done = fit(cache, "svm", layers="all", search=SearchOptions(c=[0.1], cv=3))
    assert done.head.features.layers == ("deep", "shallow")
    done = fit(cache, "svm", layers=["shallow", "deep"], search=SearchOptions(c=[0.1], cv=3))
    train = np.flatnonzero(np.array(SPLIT) == "train")
    values = np.zeros((len(train), 3))
    for rows, validation in folds_of(train):
        values[validation], _, _ = by_hand(
            train[rows], train[validation], clf="svm", c=0.1, scaling="standardize"
        )
    assert done.head.calibration is not None
    expected = fit_temperature(values, Y[train]).slope
    np.testing.assert_allclose(done.head.calibration.slope, expected, rtol=1e-2)


@pytest.mark.parametrize(
    ("clf", "scaling"),
    [("svm", "standardize"), pytest.param("softmax", "sqrt", marks=pytest.mark.slow)],
)
def test_out_of_core_is_what_it_is_in_memory(cache: Path, clf: str, scaling: str) -> None:
    search = SearchOptions(c=[0.1], cv=2, scaling=scaling)
    inside, outside = (
        fit(cache, clf, layers="all", search=search, memory=memory) for memory in (1 << 30, 25_000)
    )
    np.testing.assert_allclose(outside.head.coef, inside.head.coef, rtol=1e-2, atol=2e-3)
    assert outside.search is not None
    assert inside.search is not None
    assert outside.search.best.scores == inside.search.best.scores
    assert outside.heldout is not None
    assert inside.heldout is not None
    assert outside.heldout.plain == inside.heldout.plain


@pytest.mark.parametrize(("clf", "scaling"), [("svm", "sqrt"), ("softmax", "standardize")])
def test_on_a_device_it_is_what_it_is_with_numpy(
    cache: Path, clf: str, scaling: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    search = SearchOptions(c=[0.1], cv=2, scaling=scaling)
    expected = fit(cache, clf, layers="all", search=search)
    monkeypatch.setattr(classifiers, "keep_numpy", None)  # what computes without PyTorch
    found = fit(cache, ClassifierOptions(clf, device="cpu"), layers="all", search=search)
    np.testing.assert_allclose(found.head.coef, expected.head.coef, rtol=1e-2, atol=2e-3)
    assert found.search is not None
    assert expected.search is not None
    assert found.search.best.scores == expected.search.best.scores
    assert found.heldout is not None
    assert expected.heldout is not None
    ece = pytest.approx(expected.heldout.ece, abs=1e-4)
    assert found.heldout.to_dict() == expected.heldout.to_dict() | {"ece": ece}


@pytest.mark.parametrize("memory", [1 << 30, 200_000])
def test_fewer_rows_than_features_and_several_labels(tmp_path: Path, memory: int) -> None:
    X, targets = several(60)
    noise = np.abs(np.random.default_rng(0).normal(size=(2, 60, 200))).astype(np.float32)
    wide = [np.hstack([X * factor, noise[view]]) for view, factor in enumerate((1, 1.1))]
    labels = ["|".join(np.array(["x", "y", "z"])[row]) for row in targets]
    path = cache_of_layers(tmp_path, {"a": wide, "b": [view[:, :50] for view in wide]}, labels)
    done = fit(path, "softmax", layers="all", search=SearchOptions(c=[0.01], cv=0), memory=memory)
    rows = np.stack(wide, axis=1).reshape(120, -1).astype(np.float64)
    parts = [StandardScaler().fit_transform(part) for part in (rows, rows[:, :50])]
    scaled, weight = np.hstack(parts) / np.sqrt(2), np.full(120, 0.5)
    for label in range(3):
        y = np.repeat(targets[:, label], 2)
        model = MODELS["softmax"](C=0.01).fit(scaled, y, sample_weight=weight)
        np.testing.assert_allclose(done.head.coef[label], model.coef_[0], atol=2e-4)


def test_views_of_an_image_are_never_on_both_sides_of_a_fold(tmp_path: Path) -> None:
    # Labels are chance, and views nearly the same: who sees one view of an image knows its label.
    random = np.random.default_rng(0)
    X = np.abs(random.normal(size=(60, 100))).astype(np.float32)
    views = [X, X + np.float32(1e-3), X + np.float32(2e-3)]
    labels = ["ab"[k] for k in random.permutation(np.arange(60) % 2)]
    path = cache_of_layers(tmp_path, {"a": views}, labels)
    done = fit(path, "svm", search=SearchOptions(c=[1.0], cv=3))
    assert done.search is not None
    assert done.search.best.mean < 0.75


def test_a_head_of_several_layers_and_views_is_kept_whole(cache: Path, tmp_path: Path) -> None:
    done = fit(cache, "svm", layers="all", search=SearchOptions(c=[0.1], cv=3, scaling="sqrt"))
    done.head.save(tmp_path / "head")
    loaded = Head.load(tmp_path / "head")
    assert loaded.features == done.head.features == replace(BOTH, layers=("deep", "shallow"))
    codes = side_by_side().reshape(-1, 10)
    np.testing.assert_array_equal(
        loaded.decision_function(codes), done.head.decision_function(codes)
    )
    plain = loaded.with_views(1)
    assert plain.features == Features(("deep", "shallow"))
    assert plain.decision_function(codes[::V]).shape == (N, 3)
    with pytest.raises(InvalidOptionError, match="`views=2`: must be 1"):
        plain.with_views(2)
    assert json.loads(json.dumps(done.to_dict()))["layers"] == ["deep", "shallow"]
