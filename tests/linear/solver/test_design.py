from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from bottleneck.linear.solver import design as module
from bottleneck.linear.solver.array_api import Array
from bottleneck.linear.solver.design import (
    ArrayDesign,
    Design,
    StreamedDesign,
    ToDevice,
    keep_numpy,
)
from bottleneck.linear.solver.losses import LossSums, Targets
from tests.helpers.problems import F64, Rows

SIZES = st.lists(st.integers(1, 150), min_size=1, max_size=4)


def rotated(
    rows: Array, scale: Array, lifting: Callable[[Array], Array] = keep_numpy
) -> ArrayDesign:
    ones = np.ones(rows.shape[1])
    return ArrayDesign(rows, Targets(scale), lifting, spectrum=2 * ones, penalty=ones, weight=7.0)


def streamed(
    rows: NDArray[Any],
    scale: NDArray[Any],
    basis: F64,
    sizes: list[int],
    to_device: ToDevice = keep_numpy,
) -> tuple[StreamedDesign, Rows]:
    codes, ones = Rows(rows, sizes, in_memory=False), np.ones(basis.shape[1])
    parts = {"spectrum": to_device(2 * ones), "penalty": to_device(ones), "weight": 7.0}
    design = StreamedDesign(codes, Targets(to_device(scale)), to_device(basis), to_device, **parts)
    return design, codes


def bent(targets: Targets, margins: Array) -> tuple[Array, LossSums]:
    """Residuals that depend on the margins and on which rows they are of."""
    residuals = margins * margins * targets.right
    return residuals, LossSums(residuals.sum(0), margins.sum(0))


def data(n: int, d: int, r: int, q: int) -> tuple[F64, F64, F64, F64]:
    """Rows, basis, coefficients, and a number for every row."""
    random = np.random.default_rng(0)
    shapes = [(n, d), (d + 1, r), (r, q), (n, 1)]
    rows, basis, coefficients, scale = (random.normal(size=shape) for shape in shapes)
    return rows, basis, coefficients, scale


@given(st.integers(1, 300), st.integers(1, 4), st.sampled_from([1, 100 << 1, 1 << 20]), SIZES)
def test_gradients_are_the_plain_matrix_products(
    n: int, q: int, margins: int, sizes: list[int]
) -> None:
    rows, basis, coefficients, scale = data(n, 3, 2, q)
    turned = np.hstack([rows, np.ones((n, 1))]) @ basis
    residuals = (turned @ coefficients) ** 2 * scale
    found, codes = streamed(rows, scale, basis, sizes)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_MARGINS", margins)
        for design in (rotated(turned, scale), found):
            result = design.gradient(coefficients, bent)
            for found_sum, expected in [
                (result.gradient, turned.T @ residuals),
                (result.sums.value, residuals.sum(axis=0)),
                (result.sums.curvature, (turned @ coefficients).sum(axis=0)),
            ]:
                np.testing.assert_allclose(found_sum, expected, rtol=1e-9, atol=1e-9)
    assert codes.reads == 1


@pytest.mark.parametrize("kind", ["rotated", "streamed"])
def test_a_block_of_margins_is_kept_small(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    rows, basis, coefficients, scale = data(950, 3, 4, 5)
    monkeypatch.setattr(module, "_MARGINS", 500)
    design: Design = (
        rotated(rows @ basis[:-1], scale)
        if kind == "rotated"
        else streamed(rows, scale, basis, [])[0]
    )
    sizes: list[int] = []

    def counted(targets: Targets, margins: F64) -> tuple[F64, LossSums]:
        sizes.append(margins.size)
        assert len(margins) == len(targets.right)
        return bent(targets, margins)

    design.gradient(coefficients, counted)
    assert sizes == [500] * 9 + [250]


def test_coordinates_become_coefficients_of_the_given_rows() -> None:
    rows, basis, coefficients, scale = data(20, 3, 4, 5)
    turned = np.hstack([rows, np.ones((20, 1))]) @ basis
    for design in (
        rotated(turned, scale, lambda at: basis @ at),
        streamed(rows, scale, basis, [7])[0],
    ):
        coef, intercept = design.to_coefficients(coefficients)
        assert (coef.shape, intercept.shape) == ((5, 3), (5,))
        assert coef.flags.c_contiguous
        np.testing.assert_allclose(rows @ coef.T + intercept, turned @ coefficients)


def test_float32_coordinates_are_transformed_in_double_precision() -> None:
    rows, basis, coefficients, scale = data(20, 3, 4, 5)
    single = coefficients.astype(np.float32)
    coef, intercept = streamed(rows.astype(np.float32), scale, basis, [7])[0].to_coefficients(
        single
    )
    exact = basis @ single.astype(np.float64)
    np.testing.assert_allclose(np.hstack([coef, intercept[:, None]]), exact.T, rtol=1e-14)
    assert coef.dtype == intercept.dtype == np.float64


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_torch_gives_the_same(dtype: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MARGINS", 1)  # 64 rows a block
    rows, basis, coefficients, scale = data(200, 3, 4, 5)
    expected = streamed(rows, scale, basis, [50])[0].gradient(coefficients, bent).gradient
    rows, coefficients, scale = (a.astype(dtype) for a in (rows, coefficients, scale))
    turned = (np.hstack([rows, np.ones((200, 1))]) @ basis).astype(dtype)

    def lifting(at: Array) -> Array:
        return torch.from_numpy(basis) @ at.double()

    tolerance = 1e-3 if dtype == np.float32 else 1e-9
    designs = (
        rotated(torch.from_numpy(turned), torch.from_numpy(scale), lifting),
        streamed(rows, scale, basis, [50, 90], torch.from_numpy)[0],
    )
    for design in designs:
        assert design.is_float32 == (dtype == np.float32)
        product = design.gradient(torch.from_numpy(coefficients), bent).gradient
        assert str(product.dtype) == f"torch.{np.dtype(dtype)}"
        np.testing.assert_allclose(product.numpy(), expected, rtol=tolerance, atol=tolerance)
        coef, intercept = design.to_coefficients(torch.from_numpy(coefficients))
        assert isinstance(coef, np.ndarray)
        assert coef.dtype == np.float64
        lifted = np.hstack([coef, intercept[:, None]])
        np.testing.assert_allclose(lifted, coefficients.T @ basis.T, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("kind", ["rotated", "streamed"])
@pytest.mark.parametrize("to_device", [keep_numpy, torch.from_numpy], ids=["numpy", "torch"])
def test_in_float64_is_the_same_design_in_double_precision(kind: str, to_device: ToDevice) -> None:
    rows, basis, coefficients, scale = data(200, 3, 4, 5)
    single = rows.astype(np.float32)
    turned = np.hstack([single, np.ones((200, 1), np.float32)]) @ basis
    if kind == "rotated":
        turned = turned.astype(np.float32)
        design: Design = rotated(
            to_device(turned), to_device(scale), lambda at: to_device(basis) @ at
        )
    else:
        design = streamed(single, scale, basis, [50], to_device)[0]
    doubled = design.in_float64()
    assert (design.is_float32, doubled.is_float32) == (True, False)
    np.testing.assert_array_equal(doubled.spectrum, design.spectrum)
    np.testing.assert_array_equal(doubled.penalty, design.penalty)
    assert doubled.weight == design.weight
    exact = turned.astype(np.float64)
    expected = exact.T @ ((exact @ coefficients) ** 2 * scale)
    product = doubled.gradient(to_device(coefficients), bent).gradient
    np.testing.assert_allclose(np.asarray(product), expected, rtol=1e-11, atol=1e-11)
    for one, other in zip(
        doubled.to_coefficients(to_device(coefficients)),
        design.to_coefficients(to_device(coefficients)),
        strict=True,
    ):
        np.testing.assert_array_equal(one, other)
