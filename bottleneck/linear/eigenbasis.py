"""Coordinates: those in which the curvature's bound is diagonal, for every C, class and loss.

A linear classifier's Hessian is at most I + κC·XᵀSX, and XᵀSX = QΛQᵀ. In the coordinates u = Qᵀw
that bound is diagonal: one eigendecomposition serves every C, every class and both losses. Where
there are fewer rows than features, the same is done in the space of the rows, and no matrix of
d × d is formed. Where C is so small that the penalty is most of the Hessian, the rows serve as they
are: a decomposition of 512 features costs as much as seven passes over 3000 rows.
"""

import math
from collections.abc import Iterator
from functools import partial
from typing import Any, Literal

import numpy as np
from array_api_compat import array_namespace, device
from numpy.typing import NDArray

from bottleneck.linear.design import Design, Move, Rotated, Streamed, stay
from bottleneck.linear.losses import Array, Targets
from bottleneck.linear.matrix import CodeMatrix

# LIBLINEAR's intercept is one more coefficient, penalised as the others; LogisticRegression's is
# free of the penalty.
Intercept = Literal["penalised", "free", "none"]

_COLUMNS = 4096  # of a product in double precision at a time, so that no whole copy is made
_SOFT = 3.0  # κCλ₁ up to which a decomposition saves fewer passes than it costs
_POWERS, _NOTHING = 10, 1e-300  # of a matrix that estimate its largest eigenvalue
_RANK = 1e-13  # eigenvalues below this share of all before centring are rounding


def make_design(
    codes: CodeMatrix,
    targets: NDArray[Any],
    *,
    intercept: Intercept,
    weight: NDArray[np.float64] | None = None,
    max_curvature: float = math.inf,
    move: Move = stay,
) -> Design:
    """Find the coordinates in which the curvature's bound is diagonal.

    Parameters
    ----------
    codes : CodeMatrix
        n rows of d features.
    targets : ndarray of int64, shape (n,), or of bool, shape (n, q)
        Each row's right column, or of every column whether it is right.
    intercept : {"penalised", "free", "none"}
    weight : ndarray of float64, shape (n,), optional
        s, each above 0.
    max_curvature : float, optional
        κC at the largest C that is to come: what a row adds to the curvature along itself.
    move : callable, optional
        From NumPy to the library and device that is to compute.
    """
    n, d = codes.shape
    counted = None if weight is None else move(weight.astype(codes.dtype)[:, None])
    known = Targets(move(targets), counted)
    if n < d:  # from wherever they lie: n × d is less than the d × d that would come otherwise
        each = np.ones(n) if weight is None else weight
        return _row_space(codes.to_local(), known, intercept, each, move)
    return _column_space(codes, known, intercept, weight, max_curvature=max_curvature, move=move)


def _column_space(
    codes: CodeMatrix,
    targets: Targets,
    intercept: Intercept,
    weight: NDArray[np.float64] | None,
    *,
    max_curvature: float,
    move: Move,
) -> Design:
    """Coordinates from XᵀSX, one pass over the rows."""
    gram, sums, total = _moments(codes, weight, move)
    xp, d = array_namespace(gram), codes.shape[1]
    center = sums / total
    if intercept == "penalised":
        last = xp.concat([sums, xp.asarray([total], dtype=sums.dtype, device=device(sums))])
        gram = xp.concat([xp.concat([gram, sums[:, None]], axis=1), last[None]], axis=0)
    elif intercept == "free":
        gram = gram - total * center[:, None] * center[None]
    if codes.in_memory and max_curvature * _largest_eigenvalue(gram) <= _SOFT:
        middle = center if intercept == "free" else None
        return _as_they_are(codes, targets, gram, middle, total=total, move=move)
    spectrum, vectors = xp.linalg.eigh(gram)
    spectrum, penalty = xp.where(spectrum > 0, spectrum, 0), xp.ones_like(spectrum)
    if intercept != "penalised":
        vectors = xp.concat([vectors, -(center @ vectors)[None]], axis=0)
        if intercept == "none":
            vectors[-1] = 0
    if intercept == "free":
        basis = xp.zeros((d + 1, d + 1), dtype=vectors.dtype, device=device(vectors))
        basis[:, :d], basis[d, d] = vectors, 1
        vectors, spectrum, penalty = basis, _append(spectrum, total), _append(penalty, 0)
    found = {"spectrum": spectrum, "penalty": penalty, "weight": total}
    if not codes.in_memory:
        dtype = move(np.empty(0, dtype=codes.dtype)).dtype
        return Streamed(codes, targets, vectors, move, dtype=dtype, **found)

    def lifting(coefficients: Array) -> Array:
        return vectors @ xp.astype(coefficients, vectors.dtype, copy=False)

    return Rotated(_rotate(codes, vectors, move), targets, lifting, **found)


def _as_they_are(
    codes: CodeMatrix,
    targets: Targets,
    gram: Array,
    center: Array | None,
    *,
    total: float,
    move: Move,
) -> Design:
    """The codes' own coordinates, centred where the intercept is free, and one of 1 for it."""
    xp, (n, d) = array_namespace(gram), codes.shape
    spectrum, penalty = xp.clip(xp.linalg.diagonal(gram), 0, None), xp.ones_like(gram[0])
    if center is not None:
        spectrum, penalty = _append(spectrum, total), _append(penalty, 0)
    rows = None
    for where, block in _placed(codes, move):
        if rows is None:
            shape = (n, spectrum.shape[0])
            rows = xp.ones(shape, dtype=block.dtype, device=device(block))
        rows[where, :d] = block if center is None else block - xp.astype(center, block.dtype)

    def lifting(coefficients: Array) -> Array:
        lifted = xp.astype(coefficients, xp.float64, copy=False)
        features, last = lifted[:d], xp.sum(lifted[d:], axis=0, keepdims=True)
        if center is not None:
            last = last - center[None] @ features
        return xp.concat([features, last], axis=0)

    return Rotated(rows, targets, lifting, spectrum=spectrum, penalty=penalty, weight=total)


def _largest_eigenvalue(gram: Array) -> float:
    """Nearly, and not from above: by powers of the matrix, from its longest column."""
    xp = array_namespace(gram)
    vector = gram[:, int(xp.argmax(xp.linalg.diagonal(gram)))]
    length = 0.0
    for _ in range(_POWERS):
        vector = vector / max(float(xp.linalg.vector_norm(vector)), _NOTHING)
        vector = gram @ vector
        length = float(xp.linalg.vector_norm(vector))
    return length


def _moments(
    codes: CodeMatrix, weight: NDArray[np.float64] | None, move: Move
) -> tuple[Array, Array, float]:
    """XᵀSX, shape (d, d), Xᵀs, shape (d,), and Σ s, in double precision."""
    of_block = partial(_moments_of, move=move)
    found = codes.sum_blocks(of_block) if weight is None else codes.sum_blocks(of_block, weight)
    return found[:-1], found[-1], float(codes.shape[0] if weight is None else weight.sum())


def _moments_of(
    block: NDArray[Any], weight: NDArray[np.float64] | None = None, *, move: Move
) -> Array:
    """[X 1]ᵀSX of a block, shape (d + 1, d), in double precision."""
    rows = move(block)
    xp, d = array_namespace(rows), block.shape[1]
    found = xp.empty((d + 1, d), dtype=xp.float64, device=device(rows))
    if weight is None:
        found[:-1], found[-1] = rows.T @ rows, xp.sum(rows, axis=0, dtype=xp.float64)
    else:
        s = xp.astype(move(weight), rows.dtype)[:, None]
        scaled = rows * xp.sqrt(s)
        found[:-1], found[-1] = scaled.T @ scaled, xp.sum(rows * s, axis=0, dtype=xp.float64)
    return found


def _placed(codes: CodeMatrix, move: Move) -> Iterator[tuple[slice, Array]]:
    """Blocks, moved to where they are computed with, and their places."""
    start = 0
    for block in codes.blocks():
        yield slice(start, start + len(block)), move(block)
        start += len(block)


def _rotate(codes: CodeMatrix, basis: Array, move: Move) -> Array:
    """[X 1]·basis, shape (n, r), in the precision of the codes."""
    rows = None
    for where, block in _placed(codes, move):
        xp = array_namespace(block)
        if rows is None:
            basis = xp.astype(basis, block.dtype)
            shape = (codes.shape[0], basis.shape[1])
            rows = xp.empty(shape, dtype=block.dtype, device=device(block))
        rows[where] = block @ basis[:-1] + basis[-1:]
    return rows


def _row_space(
    codes: CodeMatrix,
    targets: Targets,
    intercept: Intercept,
    weight: NDArray[np.float64],
    move: Move,
) -> Design:
    """Coordinates from S½XXᵀS½, whose eigenvectors, scaled, are the rows' own coordinates."""
    kernel, dtype = _kernel(codes, move), move(np.empty(0, dtype=codes.dtype)).dtype
    xp = array_namespace(kernel)
    s, total = move(weight), float(weight.sum())
    root = xp.sqrt(s)[:, None]
    if intercept == "penalised":
        kernel = kernel + 1
    rounding = _RANK * float(xp.sum(xp.linalg.diagonal(kernel) * s))  # before centring
    if intercept == "free":
        to_mean = kernel @ s / total
        kernel = kernel - to_mean[:, None] - to_mean[None, :] + (s @ to_mean) / total
    spectrum, vectors = xp.linalg.eigh(kernel * root * root.T)
    rank = int(xp.sum(xp.astype(spectrum > rounding, xp.int64)))
    if intercept == "none":  # codes of nothing but zeros keep one coordinate, of no length
        rank = max(1, rank)
    kept = slice(spectrum.shape[0] - rank, None)  # the largest come last
    spectrum, vectors = xp.where(spectrum > rounding, spectrum, 0)[kept], vectors[:, kept]
    length = xp.sqrt(spectrum)
    rows, penalty = vectors / root * length, xp.ones_like(spectrum)
    duals = vectors * root * xp.where(length > 0, 1 / xp.where(length > 0, length, 1.0), 0.0)
    if intercept == "free":
        rows = xp.concat([rows, xp.ones_like(root)], axis=1)
        spectrum, penalty = _append(spectrum, total), _append(penalty, 0)
    center = _transposed(codes, s[:, None] / total, move) if intercept == "free" else None

    def lifting(coefficients: Array) -> Array:
        coordinates = xp.astype(coefficients, xp.float64, copy=False)
        combination = duals @ coordinates[:rank]
        sums = xp.sum(combination, axis=0, keepdims=True)
        if center is None:
            features = _transposed(codes, combination, move)
            return xp.concat([features, sums if intercept == "penalised" else 0 * sums], axis=0)
        features = _transposed(codes, combination, move) - center * sums
        return xp.concat([features, coordinates[rank:] - center.T @ features], axis=0)

    found = {"spectrum": spectrum, "penalty": penalty, "weight": total}
    return Rotated(xp.astype(rows, dtype), targets, lifting, **found)


def _kernel(codes: CodeMatrix, move: Move) -> Array:
    """XXᵀ, shape (n, n), in double precision."""
    n, kernel = codes.shape[0], None
    for here, left in _placed(codes, move):
        xp = array_namespace(left)
        if kernel is None:
            kernel = xp.zeros((n, n), dtype=xp.float64, device=device(left))
        for there, right in _placed(codes, move):
            for columns in _column_parts(codes.shape[1]):
                one, other = left[:, columns], right[:, columns]
                kernel[here, there] += xp.astype(one, xp.float64) @ xp.astype(other, xp.float64).T
    return kernel


def _transposed(codes: CodeMatrix, combination: Array, move: Move) -> Array:
    """Xᵀ·combination, shape (d, q), in double precision."""
    xp, d = array_namespace(combination), codes.shape[1]
    found = xp.zeros((d, combination.shape[1]), dtype=xp.float64, device=device(combination))
    for where, block in _placed(codes, move):
        for columns in _column_parts(d):
            found[columns] += xp.astype(block[:, columns], xp.float64).T @ combination[where]
    return found


def _column_parts(d: int) -> Iterator[slice]:
    """All columns, as many at a time as may be copied in double precision."""
    return (slice(start, start + _COLUMNS) for start in range(0, d, _COLUMNS))


def _append(values: Array, last: float) -> Array:
    xp = array_namespace(values)
    return xp.concat([values, xp.asarray([last], dtype=values.dtype, device=device(values))])
