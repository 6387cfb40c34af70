"""Nested cross-validation, against scikit-learn's search within each outer fold."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from sklearn.model_selection import GridSearchCV

from bottleneck.cache.store import Cache
from bottleneck.errors import InvalidOptionError, LabelsError
from bottleneck.fitting.fit import fit
from bottleneck.fitting.loading.features import Features
from bottleneck.fitting.selection.folds import make_folds
from bottleneck.fitting.selection.nested import NestedScore, OuterFold
from bottleneck.fitting.selection.options import SearchOptions
from bottleneck.fitting.selection.search_result import Candidate
from bottleneck.fitting.sweep import sweep
from bottleneck.fitting.sweep_result import SweepResult
from bottleneck.fitting.sweep_row import SweepRow
from tests.helpers.datasets import by_sklearn, clouds, several, training, written_cache

CS = (1e-4, 1e-2, 1.0)


@pytest.mark.parametrize("grouped", [False, True])
def test_outer_folds_are_scikit_learns(tmp_path: Path, grouped: bool) -> None:
    X, y = clouds(90, 5, apart=0.8)
    groups = [f"slide{row // 6}" for row in range(90)] if grouped else None
    cache = written_cache(tmp_path / "c", X, ["abc"[k] for k in y], group=groups)
    result = fit(cache, "svm", search=SearchOptions(c=CS, cv=3, nested=True))
    rows = training(X, y, groups)
    for fold, (train, validation) in zip(result.outer, make_folds(rows, 3), strict=True):
        search = GridSearchCV(
            by_sklearn("svm", 1.0),
            {"linearsvc__C": CS},
            cv=make_folds(rows.take(train), 3),
        ).fit(X[train], y[train])
        assert fold.cv.c == search.best_params_["linearsvc__C"]
        assert fold.cv.mean == pytest.approx(search.best_score_)
        assert fold.score == pytest.approx(search.score(X[validation], y[validation]))
    plain = fit(cache, "svm", search=SearchOptions(c=CS, cv=3))
    assert (plain.outer, plain.nested) == ((), None)
    assert result.search == plain.search


def test_of_pure_noise_the_best_is_above_chance_and_the_choice_is_not(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    labels = ["ab"[row % 2] for row in range(48)]
    best, nested = [], []
    for draw in "123":
        for layer in "abcdefgh":
            codes = random.normal(size=(48, 3))
            written_cache(tmp_path / draw, codes, labels, layers=[layer])
        search = SearchOptions(c=[1.0], cv=2, nested=True)
        found = sweep(tmp_path / draw, "softmax", search=search)
        assert found.nested is not None
        assert found.nested.selected == found.recommended.cv.mean
        best.append(found.best.cv.mean)
        nested.append(found.nested.mean)
    chance_error = 0.5 / np.sqrt(3 * 48)
    assert np.mean(best) > 0.5 + 2 * chance_error
    assert np.mean(nested) < 0.5 + 2 * chance_error


def a_row(layer: str, selected: float, *outer: tuple[float, float]) -> SweepRow:
    """A row, and what it is without each fold and on it."""
    folds = tuple(OuterFold(candidate(inner), score) for inner, score in outer)
    what, cv = (Features((layer,)), "svm", 8, None), candidate(selected)
    return SweepRow(*what, cv, "accuracy", None, None, True, 0.0, {}, folds)


def candidate(mean: float) -> Candidate:
    return Candidate("l2", 1.0, (mean, mean), 0.0, True)


def test_each_fold_judges_the_row_that_is_recommended_without_it() -> None:
    rows = [
        a_row("a", 0.75, (0.75, 0.5), (0.5, 0.875), (0.625, 0.125)),
        a_row("b", 0.625, (0.625, 0.75), (0.75, 0.25), (0.75, 0.25)),
    ]
    nested = SweepResult(rows).nested
    assert nested is not None
    assert nested.choices == ("svm on a", "svm on b", "svm on b")
    assert nested.scores == (0.5, 0.25, 0.25)
    assert nested.mean == pytest.approx(1 / 3)
    assert nested.standard_error == pytest.approx(1 / 12)
    assert nested.to_dict()["optimism"] == pytest.approx(0.75 - 1 / 3)
    text = str(SweepResult(rows))
    assert text.endswith(
        "\nchosen by cross-validation: accuracy 75.0%; nested: 33.3% ± 8.3%: choosing among 2 rows "
        "cost 41.7 points\nchosen without each fold: svm on b (2 of 3), svm on a (1 of 3)"
    )
    assert [line.split()[6] for line in text.splitlines()[1:3]] == ["50.0%", "41.7%"]
    assert [row.get("choice") for row in SweepResult(rows).to_list()] == [nested.to_dict(), None]
    assert SweepResult(dataclasses.replace(row, outer=()) for row in rows).nested is None


def test_a_choice_that_cost_nothing_and_many_choices() -> None:
    choices = tuple(f"C = {c}" for c in "123456")
    nested = NestedScore("balanced", 0.5, (0.5, 0.75) * 3, choices, "values of C")
    assert "choosing among values of C cost nothing\n" in str(nested)
    assert str(nested).endswith("C = 4 (1 of 6) and 2 more")
    assert nested._repr_html_().startswith("<pre>chosen")


def test_the_folds_are_the_same_images_at_every_layer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    X, y = clouds(40, 4, 2)
    cache = written_cache(tmp_path / "c", X, ["ab"[k] for k in y], layers=["a", "b"])
    valid_rows = Cache.valid_rows

    def some(self: Cache, layer: str, views: int = 1) -> object:
        valid = valid_rows(self, layer, views).copy()
        valid[[3, 20] if layer == "a" else [20, 30, 31]] = False
        return valid

    monkeypatch.setattr(Cache, "valid_rows", some)
    search = SearchOptions(c=[1.0], cv=2)
    found = sweep(cache, "svm", search=search)
    assert [row.record["train"] for row in found] == [38, 37, 36]
    assert "left out" not in str(found)
    found = sweep(cache, "svm", search=dataclasses.replace(search, nested=True))
    assert [row.record["train"] for row in found] == [36, 36, 36]
    assert str(found).endswith("left out: 3 images without codes at some of the layers")


def test_several_labels_an_image_are_judged_by_their_metric(tmp_path: Path) -> None:
    X, targets = several(60)
    labels = ["|".join(np.array(["x", "y", "z"])[row]) for row in targets]
    cache = written_cache(tmp_path / "c", X, labels)
    nested = fit(cache, "svm", search=SearchOptions(c=[1.0], cv=2, nested=True)).nested
    assert nested is not None
    assert nested.metric == "mean_average_precision"
    assert nested.mean == pytest.approx(
        nested.selected, rel=0.01
    )  # of a single C nothing is chosen


def test_without_a_held_out_split_the_nested_mean_is_the_score(tmp_path: Path) -> None:
    X, y = clouds(40, 4, 2, apart=0.3)
    cache = written_cache(tmp_path / "c", X, ["ab"[k] for k in y])
    result = fit(cache, "svm", search=SearchOptions(c=CS, cv=2, scaling="auto", nested=True))
    assert result.nested is not None
    assert result.score == result.nested.mean
    assert result.to_dict()["nested"] == result.nested.to_dict()
    assert "among values of C and scalings" in str(result)
    assert str(result).endswith("the nested cross-validation is all that can be said")


def test_too_few_images_to_split_twice_are_refused_before_training(tmp_path: Path) -> None:
    X, _ = clouds(12, 3, 2)
    cache = written_cache(tmp_path / "c", X, ["a"] * 10 + ["b"] * 2)
    with pytest.raises(LabelsError, match=r"without one of the 2 .*\('b'\).*leave `nested` out"):
        fit(cache, "svm", search=SearchOptions(c=[1.0], cv=2, nested=True))
    with pytest.raises(InvalidOptionError, match="at least 2 folds for nested cross-validation"):
        SearchOptions(c=1.0, cv=0, nested=True)
