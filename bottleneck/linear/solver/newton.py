"""Newton steps: exact second derivatives of small problems in memory.

Where codes have few features, or a class few rows near its boundary, a system of as many equations
costs less than the dozens of passes that L-BFGS takes with a large C. For the hinge such a step is
the active set method of S. Keerthi and D. DeCoste, "A modified finite Newton method for fast
solution of large scale linear SVMs" (JMLR 6, 2005). With fewer active rows than coordinates, a
class's system has one equation for each row (Woodbury), as in O. Chapelle, "Training a support
vector machine in the primal" (Neural Computation 19, 2007).

Where a few hundred rows are not decomposed, a step of a log loss is not worth a factorisation:
conjugate gradients, stopped early, take a few products with the rows; C.-J. Lin, R. C. Weng and S.
S. Keerthi, "Trust region Newton method for large-scale logistic regression" (JMLR 9, 2008).
"""

import math
from collections.abc import Callable
from typing import Any

from array_api_compat import device

from bottleneck.linear.solver.array_api import Array, array_namespace
from bottleneck.linear.solver.design import KERNEL_ROWS, ArrayDesign, Design, UndecomposedDesign
from bottleneck.linear.solver.losses import Loss

# Costs in multiplications of a factorisation, measured on CPUs: products of matrices are three
# times as fast, and calling Python takes as long as so many of them.
_PRODUCT, _PASS, _SYSTEM = 1 / 3, 1.6e7, 3e6
_NEAR, _TRIALS = 0.1, 30  # a step is long enough where the slope is a tenth
# Conjugate gradients stop where the residual is a tenth. The active rows of a hinge follow from an
# exact step alone, unless its mean curvature C·κ·mean(Λ) is no larger than the penalty's.
_RESIDUAL, _MOST_PRODUCTS, _SOFT = 0.1, 100, 1.0
_BLOCK = 4096  # rows that are copied at once
# Of a free intercept's curvature, since softmax leaves a constant undetermined; and of the largest
# curvature, since no row of a hinge may be active.
_RIDGE, _LEAST_RIDGE = 1e-7, 1e-12
_LEAST_CURVATURE = 1e-100  # of a row, whose inverse is finite


def newton_cost(design: Design, loss: Loss, curvature: Array) -> float:
    """Estimate the cost of a Newton step in passes over the rows; infinite where there is none.

    Parameters
    ----------
    design : Design
    loss : Loss
    curvature : array, shape (q,)
        Mean second derivative of the rows of each column.
    """
    if not isinstance(design, ArrayDesign) or str(device(design.rows)) != "cpu":
        return math.inf
    (n, r), q = design.rows.shape, int(curvature.shape[0])
    if loss.one_vs_rest:
        share = min(1.0, float(curvature.max()) / loss.curvature_bound)
        active = n * share if loss.has_inactive_rows else n
        small, large = sorted((active, float(r)))
        product = active**2 if active < r and n <= KERNEL_ROWS else small**2 * large
        of_one = 2 * _PRODUCT * product + 2 / 3 * small**3 + _SYSTEM
        step = q * of_one
    else:
        step = _PRODUCT * q * (q + 1) * n * r**2 + 2 / 3 * (q * r) ** 3 + q * _SYSTEM
    step += _PASS / 2  # margins and the length
    return float(step / (4 * _PRODUCT * n * r * q + _PASS))


def newton_direction(
    design: ArrayDesign, loss: Loss, c: float, at: Array, gradient: Array
) -> Array:
    """Return about -H⁻¹g for every problem, shape (r, q), at the length that descends most.

    Parameters
    ----------
    design : ArrayDesign
    loss : Loss
    c : float
    at, gradient : array, shape (r, q)
        Coordinates, and the gradient g of the objective there.
    """
    margins = design.rows @ at
    curvature = loss.second(design.targets, margins)
    if not loss.one_vs_rest:
        return _joint(design, c, curvature, gradient)
    xp = array_namespace(gradient)
    by_products = isinstance(design, UndecomposedDesign) and (
        not loss.has_inactive_rows
        or c * loss.curvature_bound * float(xp.mean(design.spectrum)) <= _SOFT
    )
    solve = _conjugate_gradients if by_products else _systems
    direction = solve(design, c, curvature, gradient)
    penalised = xp.astype(design.penalty, at.dtype)[:, None] * direction
    moved = design.rows @ direction
    first = xp.sum(gradient * direction, axis=0)
    linear = xp.sum(penalised * at, axis=0)
    quadratic = xp.sum(penalised * direction, axis=0)

    def slope(length: Array) -> Array:
        residuals, _ = loss(design.targets, margins + length * moved)
        return linear + length * quadratic + c * xp.sum(residuals * moved, axis=0)

    return direction * _zero_of(slope, first)


def _zero_of(slope: Callable[[Array], Array], first: Array) -> Array:
    """Return for every problem a length where its slope is nearly zero, shape (p,).

    The slope ascends from its first value, which is negative: a secant between a length below the
    zero and one above, or their middle where the zero stays on one side: where the slope bends
    sharply, secants approach the zero slowly. A whole step is kept if its slope is nearly zero.
    """
    xp = array_namespace(first)
    low, high, at_low = xp.zeros_like(first), xp.ones_like(first), first
    length, enough = high, _NEAR * xp.abs(first)
    found = at_high = slope(length)
    before = found <= 0  # as if the other bound had been kept
    for _ in range(_TRIALS):
        if bool(xp.all(xp.abs(found) <= enough)):
            break
        above = found > 0
        stays = above == before
        low, at_low = xp.where(above, low, length), xp.where(above, at_low, found)
        high, at_high = xp.where(above, length, high), xp.where(above, found, at_high)
        before = above
        crossed = at_high > 0  # otherwise the zero is at a greater length
        share = -at_low / xp.where(at_high > at_low, at_high - at_low, 1.0)
        share = xp.where(stays, xp.ones_like(share) / 2, xp.clip(share, 0.1, 0.9))
        new = xp.where(crossed, low + share * (high - low), 2 * length)
        high = xp.where(crossed, high, new)
        length = xp.where(xp.abs(found) <= enough, length, new)
        found = slope(length)
    return length


def _conjugate_gradients(design: ArrayDesign, c: float, curvature: Array, gradient: Array) -> Array:
    """Return about -H⁻¹g of every problem: a truncated solution descends as well.

    The preconditioner is the diagonal P + Cκ̄Λ of L-BFGS, of which a free intercept has need.
    """
    xp, rows = array_namespace(gradient), design.rows
    bent, penalty = c * curvature, xp.astype(design.penalty, gradient.dtype)[:, None]
    mean = xp.clip(xp.sum(bent, axis=0) / design.weight, _LEAST_RIDGE, None)
    diagonal = penalty + mean * xp.astype(design.spectrum, gradient.dtype)[:, None]
    direction, residual = xp.zeros_like(gradient), -gradient
    towards = residual / diagonal
    square = xp.sum(residual * towards, axis=0)
    enough = _RESIDUAL**2 * square
    tiny = float(xp.finfo(gradient.dtype).tiny)  # keeps 0 / 0 away from a solved column
    for _ in range(_MOST_PRODUCTS):
        product = rows.T @ (bent * (rows @ towards)) + penalty * towards
        length = square / (xp.sum(towards * product, axis=0) + tiny)
        direction = direction + length * towards
        residual = residual - length * product
        scaled = residual / diagonal
        before, square = square, xp.sum(residual * scaled, axis=0)
        if bool(xp.all(square <= enough)):
            break
        towards = scaled + square / (before + tiny) * towards
    return direction


def _systems(design: ArrayDesign, c: float, curvature: Array, gradient: Array) -> Array:
    """Return -H⁻¹g of every problem from a system of its coordinates, or of its active rows."""
    xp, (r, q) = array_namespace(gradient), gradient.shape
    direction = xp.empty_like(gradient)
    moved, duals = design.rows @ gradient, xp.zeros_like(curvature)
    shift = xp.zeros_like(gradient[-1])  # of free intercepts
    active = xp.sum(xp.astype(curvature > 0, xp.int64), axis=0)
    by_rows = active < r
    for k in range(q):
        if not active[k]:
            continue  # the penalty alone is left: no system of thousands of coordinates
        if by_rows[k]:
            own, solved, shift[k] = _row_system(
                design, c, curvature[:, k], moved[:, k], gradient[-1, k]
            )
            duals[own, k] = xp.astype(solved, duals.dtype)
        else:
            direction[:, k] = _coordinate_system(design, c, curvature[:, k], gradient[:, k])
    of_rows = design.rows.T @ duals - gradient
    of_rows[-1] += shift
    return xp.where(by_rows, of_rows, direction)


def _row_system(
    design: ArrayDesign, c: float, curvature: Array, moved: Array, slope: Array
) -> tuple[Array, Array, float]:
    """Return the active rows of a problem, the duals z of its step Xᵀz - g, and its intercept's.

    Woodbury: z = (D⁻¹/C + XXᵀ)⁻¹Xg of the active rows, for a penalty of 1. The step b of a free
    intercept, whose gradient is the slope, makes it z = (D⁻¹/C + XXᵀ)⁻¹(Xg - b) with Σz = slope.
    """
    xp = array_namespace(curvature)
    active = xp.nonzero(curvature > 0)[0]
    if design.kernel is None:
        rows = xp.take(design.rows, active, axis=0)
        system = rows @ rows.T
    elif active.shape == curvature.shape:  # not copied twice
        system = design.kernel
    else:
        system = xp.take(xp.take(design.kernel, active, axis=0), active, axis=1)
    system = xp.astype(system, xp.float64)
    of_active = xp.astype(xp.take(curvature, active, axis=0), xp.float64)
    inverse = 1 / xp.clip(c * of_active, _LEAST_CURVATURE, None)
    right = xp.astype(xp.take(moved, active, axis=0), xp.float64)
    if float(design.penalty[-1]) > 0:
        return active, _solve(system, inverse, right), 0.0
    both = _solve(system, inverse, xp.stack([right, xp.ones_like(right)], axis=1))
    sums = xp.sum(both, axis=0)
    step = float((sums[0] - slope) / sums[1])
    return active, both[:, 0] - step * both[:, 1], step


def _coordinate_system(design: ArrayDesign, c: float, curvature: Array, gradient: Array) -> Array:
    """Return -H⁻¹g of one problem, H = P + C·XᵀDX with the penalty P."""
    xp = array_namespace(gradient)
    system = xp.zeros((gradient.shape[0],) * 2, dtype=xp.float64)
    for start in range(0, curvature.shape[0], _BLOCK):
        part = curvature[start : start + _BLOCK]
        active = xp.nonzero(part > 0)[0]
        root = xp.take(design.rows[start : start + _BLOCK], active, axis=0)
        root = root * xp.sqrt(xp.take(part, active, axis=0))[:, None]
        system += c * xp.astype(root.T @ root, xp.float64)
    right = xp.astype(gradient, xp.float64)
    return xp.astype(-_solve(system, _penalty(design, system), right), gradient.dtype)


def _joint(design: ArrayDesign, c: float, probability: Array, gradient: Array) -> Array:
    """Return -H⁻¹g of softmax, whose classes share their rows' second derivatives."""
    xp, rows, (r, q) = array_namespace(gradient), design.rows, gradient.shape
    hessian = xp.empty((q, r, q, r), dtype=xp.float64)
    weight = 1.0 if design.targets.weight is None else design.targets.weight[:, 0]
    for i in range(q):
        for j in range(i + 1):
            bent = -probability[:, i] * probability[:, j] * weight
            if i == j:
                bent = bent + probability[:, i] * weight
            block = c * xp.astype(rows.T @ (rows * bent[:, None]), xp.float64)
            if i == j:
                _add_to_diagonal(block, _penalty(design, block))
            hessian[i, :, j], hessian[j, :, i] = block, block.T
    flat = xp.reshape(xp.astype(gradient.T, xp.float64), (q * r,))
    step = _solve(xp.reshape(hessian, (q * r, q * r)), xp.zeros_like(flat), flat)
    direction = -xp.reshape(step, (q, r)).T
    # A constant added to every class's free intercept changes nothing, and its step is rounding.
    constant = xp.where(design.penalty > 0, 0.0, xp.mean(direction, axis=1))
    return xp.astype(direction - constant[:, None], gradient.dtype)


def _penalty(design: ArrayDesign, system: Array) -> Array:
    """Return the second derivative of the penalty, and a little for a free intercept."""
    xp = array_namespace(system)
    curvature = xp.linalg.diagonal(system)
    little = xp.maximum(_RIDGE * curvature, _LEAST_RIDGE * xp.max(curvature + design.penalty))
    return xp.where(design.penalty > 0, design.penalty, little)


def _solve(system: Array, diagonal: Array, right: Array) -> Array:
    """Solve with a semidefinite system and a positive diagonal, which its rounding may exceed."""
    xp = array_namespace(system)
    rounding = float(xp.finfo(system.dtype).eps) * xp.linalg.trace(system)
    _add_to_diagonal(system, diagonal + rounding)
    return xp.linalg.solve(system, right)


def _add_to_diagonal(matrix: Any, values: Array) -> None:
    i = array_namespace(matrix).arange(matrix.shape[0])
    matrix[i, i] = matrix[i, i] + values
