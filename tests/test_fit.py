import shutil
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from conftest import Extract, write_photographs
from sklearn.model_selection import GridSearchCV, StratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC

from bottleneck.errors import CacheError, InvalidOptionError, LabelsError, UnknownNameError
from bottleneck.fit import Fit, fit
from bottleneck.images import ImageTable
from bottleneck.selection import choose_c
from bottleneck.store import open_cache


def run(cache: Path, **options: Any) -> Fit:
    defaults: dict[str, Any] = {"clf": "svm", "layer": "layer2", "c": (1e-3, 1e-1, 10.0), "cv": 4}
    return fit(cache, **(defaults | options))


def by_hand(cache: Path, split: str) -> tuple[Any, Any]:
    """Codes and labels of a split, with h5py and the table alone."""
    with h5py.File(cache / "codes.h5") as index:
        codes = index["layer2"][...]
    images = open_cache(cache).images
    rows = [i for i, name in enumerate(images.split) if name == split]
    return codes[rows], np.array(images.label)[rows]


def test_it_is_what_scikit_learn_would_do_by_hand(cache: Path) -> None:
    done = run(cache)
    X, y = by_hand(cache, "train")
    pipeline = make_pipeline(StandardScaler(), LinearSVC(random_state=0, max_iter=10_000))
    folds = StratifiedKFold(4, shuffle=True, random_state=0)
    search = GridSearchCV(pipeline, {"linearsvc__C": [1e-3, 1e-1, 10.0]}, cv=folds).fit(X, y)
    assert done.selection is not None
    assert done.selection.best.mean == pytest.approx(search.best_score_)
    held_codes, held_labels = by_hand(cache, "val")
    assert done.heldout is not None
    assert done.heldout.n == 12
    assert done.c == search.best_params_["linearsvc__C"]
    predicted = search.predict(held_codes)
    assert done.heldout.accuracy == pytest.approx((predicted == held_labels).mean())
    expected = search.decision_function(held_codes)
    np.testing.assert_allclose(done.head.margins(held_codes), expected, rtol=1e-3, atol=1e-4)


def test_colours_are_learned(cache: Path) -> None:
    for clf in ("svm", "softmax"):
        done = run(cache, clf=clf)
        assert done.heldout is not None
        assert done.heldout.accuracy == 1.0
        assert done.head.classes == ["ants", "bees", "wasps"]
        assert done.train == 24


def test_the_held_out_split_decides_nothing(
    photos: Path, extract_tiny: Extract, tmp_path: Path
) -> None:
    reference = run(extract_tiny(photos).cache.path)
    ants, bees = photos / "val" / "ants", photos / "val" / "bees"
    ants.rename(photos / "val" / "x")
    bees.rename(ants)
    (photos / "val" / "x").rename(bees)  # every held-out label is wrong now
    other = run(extract_tiny(photos, tmp_path / "other").cache.path)
    assert other.selection == reference.selection
    np.testing.assert_array_equal(other.head.coef, reference.head.coef)
    assert other.heldout is not None
    assert other.heldout.accuracy < 0.5


def test_without_splits_all_rows_train_and_none_judges(
    photos: Path, extract_tiny: Extract, tmp_path: Path
) -> None:
    done = run(extract_tiny(photos / "train", tmp_path / "c").cache.path)
    assert (done.train, done.heldout) == (24, None)
    assert done.to_json()["heldout"] is None


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


def test_rejected_and_removed_images_are_left_out(photos: Path, extract_tiny: Extract) -> None:
    (photos / "train" / "ants" / "ants000.jpg").write_bytes(b"no image")
    extract_tiny(photos)
    (photos / "train" / "bees" / "bees000.jpg").unlink()
    done = run(extract_tiny(photos).cache.path)
    assert done.train == 22


def test_unlabelled_rows_are_left_out(photos: Path, extract_tiny: Extract) -> None:
    write_photographs(photos / "train", 2, label="ants")
    assert run(extract_tiny(photos).cache.path).train == 24


def test_groups_of_the_table_keep_together(
    photos: Path, extract_tiny: Extract, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = ["path,label,group"]
    for path in sorted((photos / "train").rglob("*.*")):
        number = int(path.stem[-3:])
        lines.append(
            f"{path.relative_to(photos)},{path.parent.name},{path.parent.name}{number // 2}"
        )
    (photos / "images.csv").write_text("\n".join(lines))
    seen: dict[str, Any] = {}

    def spy(*args: Any, **kwargs: Any) -> Any:
        seen.update(kwargs)
        return choose_c(*args, **kwargs)

    monkeypatch.setattr("bottleneck.fit.choose_c", spy)
    run(extract_tiny(photos / "images.csv").cache.path)
    assert len(set(seen["groups"])) == 12


def test_balanced_weights_reach_the_classifier(photos: Path, extract_tiny: Extract) -> None:
    for i in range(2, 8):
        next((photos / "train" / "ants").glob(f"ants{i:03d}*")).unlink()
    cache = extract_tiny(photos).cache.path
    plain, balanced = (
        run(cache, c=(1e-3,), cv=2),
        run(cache, c=(1e-3,), cv=2, class_weight="balanced"),
    )
    assert not np.allclose(plain.head.coef, balanced.head.coef)


@pytest.mark.parametrize("preprocess", ["standardize", "l2", "none"])
def test_a_head_prepares_codes_as_it_was_trained(cache: Path, preprocess: str) -> None:
    done = run(cache, preprocess=preprocess, c=(1.0,))
    X, y = by_hand(cache, "train")
    names = np.array(done.head.classes)
    assert (names[done.head.margins(X).argmax(1)] == y).mean() > 0.9


def test_one_value_of_c_needs_no_folds(cache: Path) -> None:
    done = run(cache, c=(0.5,), cv=0)
    assert (done.selection, done.c) == (None, 0.5)
    assert done.to_json()["cv"] is None
    with pytest.raises(InvalidOptionError, match="--cv 0 leaves nothing to choose among 3"):
        run(cache, cv=0)


def test_the_record_is_in_the_head(cache: Path, tmp_path: Path) -> None:
    from bottleneck.head import Head

    done = run(cache)
    done.head.save(tmp_path / "head")
    assert Head.load(tmp_path / "head").record == done.to_json()
    assert {"clf", "layer", "c", "cv", "heldout", "seconds"} <= done.to_json().keys()


def test_a_layer_must_be_chosen_among_several(cache: Path) -> None:
    with pytest.raises(InvalidOptionError, match=r"2 layers: choose one.*layer2, layer3"):
        run(cache, layer=None)
    with pytest.raises(UnknownNameError, match="did you mean layer3"):
        run(cache, layer="layr3")


def test_the_table_of_images_is_read_once(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reads: list[Path] = []
    read_csv = ImageTable.read_csv

    def spy(path: Path) -> ImageTable:
        reads.append(path)
        return read_csv(path)

    monkeypatch.setattr(ImageTable, "read_csv", spy)
    run(cache)
    assert len(reads) == 1


def test_the_only_layer_need_not_be_named(photos: Path, extract_tiny: Extract) -> None:
    assert run(extract_tiny(photos).cache.path, layer=None).head.layer == "layer2"


def test_an_unfinished_cache_is_refused(cache: Path) -> None:
    open_cache(cache).shard_path("layer2", 0).unlink()
    with pytest.raises(CacheError, match="lacks 1 of 5 shards"):
        run(cache)


def test_an_unknown_classifier_is_refused(cache: Path) -> None:
    with pytest.raises(UnknownNameError, match="unknown classifier 'forest'"):
        run(cache, clf="forest")
