"""Problems with fewer rows than features: where they are read, what they take, and their map."""

import tracemalloc
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from bottleneck.linear.matrix import ArrayMatrix
from bottleneck.linear.solver.design import Intercept
from bottleneck.linear.solver.row_space import _Combined
from tests.helpers.problems import INTERCEPTS, Rows, fit_path, margins, unlabelled


def test_a_map_is_combined_at_the_third_use() -> None:
    calls: list[tuple[int, ...]] = []

    def linear(values: NDArray[Any]) -> NDArray[Any]:
        calls.append(values.shape)
        return 2 * values

    combined = _Combined(linear, np.eye(4))
    for _ in range(4):
        np.testing.assert_array_equal(combined(np.ones((4, 2))), np.full((4, 2), 2.0))
    assert calls == [(4, 2), (4, 2), (4, 4)]


def test_few_rows_of_many_features_are_copied_to_this_machine() -> None:
    class Away(Rows):
        def blocks(self) -> Iterator[NDArray[Any]]:
            raise AssertionError("these lie elsewhere")

        def to_local(self) -> Rows:
            return Rows(self.rows)

    rows = np.random.default_rng(0).normal(size=(4, 30))
    design = unlabelled(Away(rows, in_memory=False), intercept="free")
    at = np.eye(len(design.spectrum))
    coef, intercepts = design.to_coefficients(at)
    np.testing.assert_allclose(margins(design, 4, at), rows @ coef.T + intercepts, atol=1e-9)


@pytest.mark.parametrize("intercept", INTERCEPTS)
def test_few_rows_of_many_features_take_little_memory(intercept: Intercept) -> None:
    # A matrix of d × d would be of 29 GB; the codes are 5 MB, in double precision twice that.
    rows = np.random.default_rng(0).normal(size=(20, 60_000)).astype(np.float32)
    design = unlabelled(Rows(rows), intercept=intercept)  # what is loaded once is loaded
    tracemalloc.start()
    try:
        design = unlabelled(Rows(rows), intercept=intercept)
        _, peak = tracemalloc.get_traced_memory()
        assert peak < rows.nbytes
        tracemalloc.reset_peak()
        before, _ = tracemalloc.get_traced_memory()
        coef, intercepts = design.to_coefficients(np.ones((len(design.spectrum), 1)))
        assert tracemalloc.get_traced_memory()[1] - before < 2 * rows.nbytes
    finally:
        tracemalloc.stop()
    at = np.ones((len(design.spectrum), 1))
    raw = rows.astype(np.float64) @ coef.T + intercepts
    np.testing.assert_allclose(margins(design, 20, at), raw, atol=1e-3)


@pytest.mark.parametrize("clf", ["svm", "softmax"])
def test_the_gap_includes_the_dropped_eigenvectors(clf: str) -> None:
    """Rows that a small feature tells apart, beside one of 6e7 times its scale: nearly lost."""
    random = np.random.default_rng(0)
    y = np.arange(30) % 3
    X = 1e-3 * (random.normal(size=(30, 64)) + 3 * random.normal(size=(3, 64))[y])
    X[:, 0] = 6e4 * random.normal(size=30)
    (found,) = fit_path(ArrayMatrix(X), y, clf=clf, cs=[100.0], classes=3)
    assert (found.decision_function(X).argmax(axis=1) == y).mean() < 0.6
    assert not found.converged.any()
    assert found.gap.min() > 1
    scaled = X / X.std(axis=0)
    (found,) = fit_path(ArrayMatrix(scaled), y, clf=clf, cs=[100.0], classes=3)
    assert (found.decision_function(scaled).argmax(axis=1) == y).all()
    assert found.converged.all()


def test_copies_of_rows_leave_out_rounding_alone() -> None:
    random = np.random.default_rng(0)
    X, y = np.repeat(random.normal(size=(40, 200)), 2, axis=0), random.integers(0, 3, 80)
    for clf in ("svm", "softmax"):
        (found,) = fit_path(ArrayMatrix(X), y, clf=clf, cs=[100.0], classes=3, tol=1e-6)
        assert found.converged.all()
