"""Coordinates of a problem with fewer rows than features, from the products of its rows."""

from collections.abc import Callable, Iterator

import numpy as np
from array_api_compat import device
from numpy.typing import NDArray

from bottleneck.linear.matrix import CodeMatrix
from bottleneck.linear.solver.array_api import Array, array_namespace
from bottleneck.linear.solver.design import (
    SMALL_PROBLEM,
    ArrayDesign,
    Design,
    Intercept,
    ToDevice,
    append_value,
    apply_basis,
    device_blocks,
)
from bottleneck.linear.solver.losses import Targets

_COLUMNS = 4096  # columns converted to double precision at a time, to avoid a copy of all codes
_RANK = 1e-13  # eigenvalues below this share of the trace before centring are rounding
_COMBINE = 3  # the call at which a linear map computes its matrix


def row_space_design(
    codes: CodeMatrix,
    targets: Targets,
    intercept: Intercept,
    weight: NDArray[np.float64],
    to_device: ToDevice,
) -> Design:
    """Return a design in the eigenvectors of S½XXᵀS½, whose scaled entries are the coordinates.

    Parameters
    ----------
    codes : CodeMatrix
        n rows of d features, n < d, on this machine.
    targets : Targets
        Of the same rows, on the device that computes.
    intercept : {"penalised", "free", "none"}
    weight : ndarray of float64, shape (n,)
        Weight of each row, above 0.
    to_device : callable
        Converts NumPy arrays to the library and device that computes.

    Returns
    -------
    ArrayDesign
    """
    kernel, dtype = _kernel(codes, to_device), to_device(np.empty(0, dtype=codes.dtype)).dtype
    xp = array_namespace(kernel)
    s, total = to_device(weight), float(weight.sum())
    root = xp.sqrt(s)[:, None]
    if intercept == "penalised":
        kernel = kernel + 1
    rounding = _RANK * float(xp.sum(xp.linalg.diagonal(kernel) * s))  # before centring
    if intercept == "free":
        to_mean = kernel @ s / total
        kernel = kernel - to_mean[:, None] - to_mean[None, :] + (s @ to_mean) / total
    spectrum, vectors = xp.linalg.eigh(kernel * root * root.T)
    rank = int(xp.sum(xp.astype(spectrum > rounding, xp.int64)))
    if intercept == "none":  # codes that are all zero keep one coordinate
        rank = max(1, rank)
    kept = slice(spectrum.shape[0] - rank, None)  # the largest come last
    left_out = max(0.0, float(spectrum[-rank - 1])) if 0 < rank < spectrum.shape[0] else 0.0
    spectrum, vectors = xp.where(spectrum > rounding, spectrum, 0)[kept], vectors[:, kept]
    length, lengths, penalty = xp.sqrt(spectrum), spectrum, xp.ones_like(spectrum)
    duals = vectors * root * xp.where(length > 0, 1 / xp.where(length > 0, length, 1.0), 0.0)

    def rows() -> Array:
        of_penalised = duals * lengths / s[:, None]
        if intercept != "free":
            return of_penalised
        return xp.concat([of_penalised, xp.ones_like(root)], axis=1)

    if intercept == "free":
        spectrum, penalty = append_value(spectrum, total), append_value(penalty, 0)
    center = _transposed(codes, s[:, None] / total, to_device) if intercept == "free" else None

    def from_coordinates(coordinates: Array) -> Array:
        exact = xp.astype(coordinates, xp.float64, copy=False)
        combination = duals @ exact[:rank]
        sums = xp.sum(combination, axis=0, keepdims=True)
        if center is None:
            features = _transposed(codes, combination, to_device)
            return xp.concat([features, sums if intercept == "penalised" else 0 * sums], axis=0)
        features = _transposed(codes, combination, to_device) - center * sums
        return xp.concat([features, exact[rank:] - center.T @ features], axis=0)

    combine, r = from_coordinates, spectrum.shape[0]
    if codes.in_memory and (codes.shape[1] + 1) * r <= SMALL_PROBLEM:
        combine = _Combined(from_coordinates, xp.eye(r, dtype=xp.float64, device=device(root)))
    return ArrayDesign(
        xp.astype(rows(), dtype),
        targets,
        combine,
        spectrum=spectrum,
        penalty=penalty,
        weight=total,
        left_out=left_out,
        exact=rows,
    )


class _Combined:
    """A linear map whose matrix is made at the third use: for one C it costs more than it saves."""

    def __init__(self, linear: Callable[[Array], Array], identity: Array) -> None:
        self._linear, self._matrix, self._uses = linear, identity, 0

    def __call__(self, coordinates: Array) -> Array:
        self._uses += 1
        if self._uses < _COMBINE:
            return self._linear(coordinates)
        if self._uses == _COMBINE:
            self._matrix = self._linear(self._matrix)
        return apply_basis(self._matrix, coordinates)


def _kernel(codes: CodeMatrix, to_device: ToDevice) -> Array:
    """Return XXᵀ, shape (n, n), in double precision."""
    n, kernel = codes.shape[0], None
    for i, left in device_blocks(codes, to_device):
        xp = array_namespace(left)
        if kernel is None:
            kernel = xp.zeros((n, n), dtype=xp.float64, device=device(left))
        # XXᵀ is symmetric: only the rows from this block on are read again.
        rest = codes.take(np.arange(i.start, n)) if i.start else codes
        for part, right in device_blocks(rest, to_device):
            j = slice(i.start + part.start, i.start + part.stop)
            of_rows = xp.zeros_like(kernel[i, j])
            for columns in _column_parts(codes.shape[1]):
                one, other = left[:, columns], right[:, columns]
                of_rows += xp.astype(one, xp.float64) @ xp.astype(other, xp.float64).T
            kernel[i, j], kernel[j, i] = of_rows, of_rows.T
    return kernel


def _transposed(codes: CodeMatrix, combination: Array, to_device: ToDevice) -> Array:
    """Return Xᵀ·combination, shape (d, q), in double precision."""
    xp, d = array_namespace(combination), codes.shape[1]
    result = xp.zeros((d, combination.shape[1]), dtype=xp.float64, device=device(combination))
    for part, block in device_blocks(codes, to_device):
        for columns in _column_parts(d):
            result[columns] += xp.astype(block[:, columns], xp.float64).T @ combination[part]
    return result


def _column_parts(d: int) -> Iterator[slice]:
    """Divide d columns into slices that are converted to double precision one at a time."""
    return (slice(start, start + _COLUMNS) for start in range(0, d, _COLUMNS))
