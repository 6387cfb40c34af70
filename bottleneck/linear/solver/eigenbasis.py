"""Coordinates in which one bound of the Hessian is diagonal, for every C, class and loss.

The Hessian of a linear classifier is at most I + κC·XᵀSX, where κ bounds the second derivative of
the loss and S are the weights of the rows. With the eigendecomposition XᵀSX = QΛQᵀ and the
coordinates u = Qᵀw this bound is the diagonal matrix I + κCΛ: one decomposition serves every C,
every class and both losses. With fewer rows than features, the n × n matrix of the rows' products
is decomposed instead, and no d × d matrix is formed. If C is so small that the penalty dominates
the Hessian, the rows are used as they are: a decomposition of 512 features costs as much as seven
passes over 3000 rows. So are a few hundred rows of two classes, whose Newton steps need no bound.
"""

import math
from functools import partial, reduce
from operator import add
from typing import Any

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
    StreamedDesign,
    ToDevice,
    UndecomposedDesign,
    append_value,
    apply_basis,
    device_blocks,
    keep_numpy,
    row_slices,
    transfer_rows,
)
from bottleneck.linear.solver.losses import Targets
from bottleneck.linear.solver.row_space import row_space_design

_SOFT = 3.0  # κCλ₁ up to which a decomposition saves fewer passes than it costs
_POWERS, _NOTHING = 10, 1e-300  # steps of the power iteration, and the least length divided by
_FEW = 320  # rows of one column, whose Newton step costs less than two passes


def make_design(
    codes: CodeMatrix,
    targets: NDArray[Any],
    *,
    intercept: Intercept,
    weight: NDArray[np.float64] | None = None,
    max_curvature: float = math.inf,
    to_device: ToDevice = keep_numpy,
) -> Design:
    """Transform the rows of a problem to coordinates in which the bound of the Hessian is diagonal.

    Where Newton steps or a small C make that needless, the coordinates are the features.

    Parameters
    ----------
    codes : CodeMatrix
        n rows of d features.
    targets : ndarray of int64, shape (n,), or of bool, shape (n, q)
        Index of each row's class, or for every column whether the row belongs to it.
    intercept : {"penalised", "free", "none"}
    weight : ndarray of float64, shape (n,), optional
        Weight s of each row, above 0; 1 unless given.
    max_curvature : float, optional
        κC for the largest C to be solved: if it is small, the rows are not decomposed.
    to_device : callable, optional
        Converts NumPy arrays to the library and device that computes; NumPy unless given.

    Returns
    -------
    Design
        An `ArrayDesign` if the codes are in memory or fewer than the features, else a
        `StreamedDesign`.

    Examples
    --------
    >>> from bottleneck.linear.matrix import ArrayMatrix
    >>> codes = ArrayMatrix(np.array([[3.0, 4.0], [-4.0, 3.0], [0.0, 0.0]]))
    >>> design = make_design(codes, np.array([0, 1, 1]), intercept="none")
    >>> design.spectrum.round(6).tolist()
    [25.0, 25.0]
    """
    n, d = codes.shape
    row_weight = None if weight is None else to_device(weight.astype(codes.dtype)[:, None])
    known = Targets(to_device(targets), row_weight)
    if n < d:  # n × d codes are fewer than the d × d products, so they are copied to this machine
        each = np.ones(n) if weight is None else weight
        on_cpu = str(device(known.right)) == "cpu"  # elsewhere there are no Newton steps
        small = codes.in_memory and n <= _FEW and n * d <= SMALL_PROBLEM
        if small and on_cpu and targets.shape[1:] == (1,):
            return _few_rows(codes, known, intercept, each, to_device)
        return row_space_design(codes.to_local(), known, intercept, each, to_device)
    return _column_space(
        codes, known, intercept, weight, max_curvature=max_curvature, to_device=to_device
    )


def _column_space(
    codes: CodeMatrix,
    targets: Targets,
    intercept: Intercept,
    weight: NDArray[np.float64] | None,
    *,
    max_curvature: float,
    to_device: ToDevice,
) -> Design:
    """Return a design in the eigenvectors of XᵀSX, which takes one pass over the rows."""
    gram, sums, total = _gram(codes, weight, to_device)
    xp, d = array_namespace(gram), codes.shape[1]
    center = sums / total
    if intercept == "penalised":
        last = xp.concat([sums, xp.asarray([total], dtype=sums.dtype, device=device(sums))])
        gram = xp.concat([xp.concat([gram, sums[:, None]], axis=1), last[None]], axis=0)
    elif intercept == "free":
        gram = gram - total * center[:, None] * center[None]
    if codes.in_memory and max_curvature * _largest_eigenvalue(gram) <= _SOFT:
        middle = center if intercept == "free" else None
        squares = xp.clip(xp.linalg.diagonal(gram), 0, None)
        return _undecomposed(codes, targets, squares, middle, total=total, to_device=to_device)
    spectrum, vectors = xp.linalg.eigh(gram)
    spectrum, penalty = xp.where(spectrum > 0, spectrum, 0), xp.ones_like(spectrum)
    if intercept != "penalised":
        vectors = xp.concat([vectors, -(center @ vectors)[None]], axis=0)
        if intercept == "none":
            vectors[-1] = 0
    if intercept == "free":
        basis = xp.zeros((d + 1, d + 1), dtype=vectors.dtype, device=device(vectors))
        basis[:, :d], basis[d, d] = vectors, 1
        vectors, spectrum, penalty = basis, append_value(spectrum, total), append_value(penalty, 0)
    parts = {"spectrum": spectrum, "penalty": penalty, "weight": total}
    if not codes.in_memory:
        return StreamedDesign(codes, codes.align(targets), vectors, to_device, **parts)

    rotate = partial(_rotate, codes, vectors, center, to_device)
    exact = partial(rotate, exact=True) if codes.shape[0] * d <= SMALL_PROBLEM else None
    return ArrayDesign(rotate(), targets, partial(apply_basis, vectors), exact=exact, **parts)


def _undecomposed(
    codes: CodeMatrix,
    targets: Targets,
    spectrum: Array,
    center: Array | None,
    *,
    total: float,
    to_device: ToDevice,
) -> Design:
    """Return a design of the features themselves, centred if a free intercept needs it."""
    xp, (n, d) = array_namespace(spectrum), codes.shape
    penalty = xp.ones_like(spectrum)
    if center is not None:
        spectrum, penalty = append_value(spectrum, total), append_value(penalty, 0)
    rows = None
    for part, block in device_blocks(codes, to_device):
        if rows is None:  # the columns after d are the ones of the intercept
            shape = (n, spectrum.shape[0])
            rows = xp.ones(shape, dtype=block.dtype, device=device(block))
            shift = 0 if center is None else xp.astype(center, block.dtype)
        rows[part, :d] = block - shift
    if center is not None:  # as it was rounded
        center = xp.astype(shift, xp.float64)

    def from_coordinates(coordinates: Array) -> Array:
        exact = xp.astype(coordinates, xp.float64, copy=False)
        features, last = exact[:d], xp.sum(exact[d:], axis=0, keepdims=True)
        if center is not None:
            last = last - center[None] @ features
        return xp.concat([features, last], axis=0)

    return UndecomposedDesign(
        rows, targets, from_coordinates, spectrum=spectrum, penalty=penalty, weight=total
    )


def _few_rows(
    codes: CodeMatrix,
    targets: Targets,
    intercept: Intercept,
    weight: NDArray[np.float64],
    to_device: ToDevice,
) -> Design:
    """Return a design of the features themselves, whose Newton steps cost less than a basis."""
    d = codes.shape[1]
    squares, sums = to_device(np.zeros(d)), to_device(np.zeros(d))
    xp, total, center = array_namespace(squares), float(weight.sum()), None
    for part, block in device_blocks(codes, to_device):
        s = xp.astype(to_device(weight[part]), block.dtype)
        squares += s @ (block * block)
        sums += s @ block
    if intercept == "free":
        center = sums / total
        squares = xp.clip(squares - total * center**2, 0, None)
    elif intercept == "penalised":
        squares = append_value(squares, total)
    return _undecomposed(codes, targets, squares, center, total=total, to_device=to_device)


def _largest_eigenvalue(gram: Array) -> float:
    """Estimate the largest eigenvalue from below, by power iteration from the longest column."""
    xp = array_namespace(gram)
    vector = gram[:, int(xp.argmax(xp.linalg.diagonal(gram)))]
    length = 0.0
    for _ in range(_POWERS):
        vector = vector / max(float(xp.linalg.vector_norm(vector)), _NOTHING)
        vector = gram @ vector
        length = float(xp.linalg.vector_norm(vector))
    return length


def _gram(
    codes: CodeMatrix, weight: NDArray[np.float64] | None, to_device: ToDevice
) -> tuple[Array, Array, float]:
    """Return XᵀSX, shape (d, d), Xᵀs, shape (d,), and Σ s, in double precision."""
    of_block = partial(_block_gram, to_device=to_device)
    both = codes.sum_blocks(of_block) if weight is None else codes.sum_blocks(of_block, weight)
    return both[:-1], both[-1], float(codes.shape[0] if weight is None else weight.sum())


def _block_gram(
    block: NDArray[Any], weight: NDArray[np.float64] | None = None, *, to_device: ToDevice
) -> Array:
    """Return [X 1]ᵀSX of a block, shape (d + 1, d), in double precision."""
    transferred = transfer_rows(block, to_device)
    if weight is None:
        return reduce(add, (_gram_of_rows(rows) for _, rows in transferred))
    return reduce(add, (_gram_of_rows(rows, to_device(weight[part])) for part, rows in transferred))


def _gram_of_rows(rows: Array, weight: Array | None = None) -> Array:
    """Return what `_block_gram` does, of rows and weights on the device that computes."""
    xp, d = array_namespace(rows), rows.shape[1]
    both = xp.empty((d + 1, d), dtype=xp.float64, device=device(rows))
    if weight is None:
        both[:-1], both[-1] = rows.T @ rows, xp.sum(rows, axis=0, dtype=xp.float64)
    else:
        s = xp.astype(weight, rows.dtype)[:, None]
        scaled = rows * xp.sqrt(s)
        both[:-1], both[-1] = scaled.T @ scaled, xp.sum(rows * s, axis=0, dtype=xp.float64)
    return both


def _rotate(
    codes: CodeMatrix, basis: Array, center: Array, to_device: ToDevice, *, exact: bool = False
) -> Array:
    """Return [X 1]·basis, shape (n, r), in the dtype of the codes, or exactly in float64.

    The center is rotated by itself, in double precision: the rounding of a product with large means
    would be in all coordinates.
    """
    rows = None
    for part, block in device_blocks(codes, to_device):
        xp = array_namespace(block)
        if rows is None:
            dtype = basis.dtype if exact else block.dtype
            center = xp.astype(center, block.dtype)
            of_center = xp.astype(center, basis.dtype) @ basis[:-1] + basis[-1]
            of_center, center, basis = (
                xp.astype(values, dtype, copy=False) for values in (of_center, center, basis)
            )
            shape = (codes.shape[0], basis.shape[1])
            rows = xp.empty(shape, dtype=dtype, device=device(block))
        for few in row_slices(block.shape[0], basis):
            shifted = xp.astype(block[few], dtype, copy=False) - center
            rows[part][few] = shifted @ basis[:-1] + of_center
    return rows
