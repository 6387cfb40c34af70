"""Small problems of every loss, and their objectives for one C."""

from typing import Any

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

from bottleneck.linear.solver.losses import Loss, Softmax, SquaredHinge
from bottleneck.linear.solver.objective import DualBound, Objective
from tests.helpers.problems import F64, INTERCEPTS, KINDS, Problem, classes_of

C_VALUES = st.floats(-3, 3).map(lambda e: float(10**e))


@st.composite
def problems(draw: st.DrawFn, *, free: bool = True) -> Problem:
    """Small ones in double precision, of every loss, weighted or not."""
    kind = draw(st.sampled_from(KINDS))
    n, d, k = draw(st.tuples(st.integers(2, 12), st.integers(1, 12), st.integers(2, 4)))
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    targets: NDArray[Any] = classes_of(max(n, k), k, random)
    n = len(targets)
    columns = None
    if kind is not Softmax:
        if draw(st.booleans()):
            targets = random.random((n, k)) < 0.4
        if draw(st.booleans()):
            columns = random.uniform(0.2, 2, (2, k))
    weight = random.uniform(0.2, 2, n) if draw(st.booleans()) else None
    intercept = draw(st.sampled_from(INTERCEPTS if free else ("penalised", "none")))
    return Problem(1 + random.normal(size=(n, d)), targets, kind, intercept, weight, columns)


def objective(
    problem: Problem, c: float, bound: DualBound | None = None, **options: Any
) -> Objective:
    return Objective(problem.design(**options), problem.loss(), c, bound, problem.zero(c))


def bound_of(f: Objective) -> DualBound:
    assert f.dual_bound is not None
    return f.dual_bound


def hinges() -> st.SearchStrategy[Problem]:
    return problems(free=False).filter(lambda problem: problem.kind is SquaredHinge)


def anywhere(f: Objective, scale: float = 1.0, seed: int = 0) -> F64:
    shape = (len(f.design.spectrum), int(f.loss.columns.shape[0]))
    return scale * np.random.default_rng(seed).normal(size=shape)


def start(f: Objective) -> F64:
    return anywhere(f, 0.0).astype(f.design.dtype)


def hard(kind: type[Loss] = SquaredHinge, k: int = 8, dtype: Any = np.float64) -> Problem:
    """Classes from easy to hard, so that some are done long before others."""
    random = np.random.default_rng(0)
    y = np.arange(160) % k
    rows = random.normal(size=(160, 24)) + (np.linspace(0, 6, k)[:, None] * np.eye(k, 24))[y]
    return Problem(rows.astype(dtype), y, kind)
