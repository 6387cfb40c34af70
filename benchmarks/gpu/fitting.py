"""Measure fitting on a GPU at ImageNet's size, and the share of the peak matmul rate that it uses.

`python -m benchmarks.gpu` runs it. Each path over C ends early after a limit.
"""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.profiles import FULL_FITTING
from bottleneck.linear.classifiers import CLASSIFIERS, prepare_path
from bottleneck.linear.matrix import ArrayMatrix
from bottleneck.linear.solver.design import ArrayDesign

_TOL = 3e-5  # of a fit by the estimators


@dataclass(frozen=True)
class Profile:
    """How much is measured.

    Attributes
    ----------
    n, d, classes, test : int
        Training rows, features, classes, test rows.
    c : float
        The single C.
    grid : tuple of float
        Of the path.
    product : int
        Side of the matrices whose product is the measure of the device.
    limit : float
        Seconds after which a path asks for no further C.
    """

    n: int = 1_281_167
    d: int = 2048
    classes: int = 1000
    test: int = 10_000
    c: float = 1e-4
    grid: tuple[float, ...] = FULL_FITTING.grid
    product: int = 8192
    limit: float = 40.0


FULL = Profile()
QUICK = Profile(n=500, d=24, classes=4, test=100, grid=FULL_FITTING.grid[4:14:3], product=128)

_BLOCK = 1 << 14  # rows that are made at a time
_BETWEEN, _OWN, _COMMON = 0.1, 0.6, 0.7  # as in helpers/synthetic_codes.py, for more features

# Copies of the codes that are alive at once during the decomposition, and a spare one. Device: the
# rows, two in their precision, one in double. Host: the rows and a copy.
_ON_DEVICE, _ON_HOST = 6, 3


@dataclass(frozen=True)
class Run:
    """Measurements of one path over C.

    Attributes
    ----------
    clf : str
    cs : tuple of float
        The values that were reached.
    prepared, seconds : float
        Seconds of the move to the device and the decomposition, and of everything.
    passes, doubled : int
        Passes over the rows, and how many of them in double precision.
    operations : float
        Floating-point operations of the matrix products.
    converged : int
        How many values of C met the tolerance.
    accuracy : float
        Accuracy of the best C on test rows.
    """

    clf: str
    cs: tuple[float, ...]
    prepared: float
    seconds: float
    passes: int
    doubled: int
    operations: float
    converged: int
    accuracy: float


def measure(profile: Profile, device: str) -> Iterator[str]:
    """Yield the lines of a table as soon as they are known."""
    fitting = replace(profile, n=_rows_that_fit(profile, device))
    codes, classes = synthetic_codes_on(fitting, device)
    rate = product_rate(profile.product, device)
    name = torch.cuda.get_device_name(device) if device.startswith("cuda") else "the CPU"
    fewer = "" if fitting.n == profile.n else f" (memory allows no more; {profile.n} were wanted)"
    yield (
        f"Generated codes, rounded to float16 and stored as float32: {fitting.n}{fewer} × "
        f"{profile.d}, {profile.classes} classes, from NumPy in the host's memory through "
        f"`prepare_path(device={device!r})`, measured once. A product of float32 matrices of "
        f"{profile.product} × {profile.product} runs at {rate / 1e12:.3g} TFLOP/s on {name}; "
        "the share is that of the products alone in the seconds after the decomposition. A "
        f"path asks for no further C after {profile.limit:g} s.\n\n"
        "| classifier | C | seconds | of them until decomposed | passes, of them in double "
        "| share of the product rate | C that met the tolerance | best test accuracy |\n"
        "|---|---|---|---|---|---|---|---|"
    )
    for cs in ((profile.c,), profile.grid):
        for clf in CLASSIFIERS:
            found = run(codes, classes, fitting, clf=clf, cs=cs, device=device)
            yield _row(found, asked=len(cs), rate=rate)


def synthetic_codes_on(
    profile: Profile, device: str, seed: int = 0
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Draw codes of n + test rows on the device, in blocks, and return them in the host's memory.

    The distribution is that of `benchmarks.helpers.synthetic_codes`; mean and scale are those of
    the first block.

    Returns
    -------
    codes : ndarray of float32, shape (n + test, d)
    classes : ndarray of int64, shape (n + test,)
    """
    random = torch.Generator(device).manual_seed(seed)
    means = _BETWEEN * _student((profile.classes, profile.d), random)
    mixing = torch.randn((profile.d, profile.d), generator=random, device=device)
    mixing = _OWN * torch.eye(profile.d, device=device) + _COMMON / profile.d**0.5 * mixing
    classes = np.arange(profile.n + profile.test) % profile.classes
    codes = np.empty((len(classes), profile.d), dtype=np.float32)
    mean = scale = None
    for start in range(0, len(classes), _BLOCK):
        target = torch.from_numpy(classes[start : start + _BLOCK]).to(device)
        noise = _student((len(target), profile.d), random) @ mixing
        block = (means[target] + noise).relu().half().float()
        if mean is None or scale is None:
            mean, scale = block.mean(0), block.std(0)
        codes[start : start + _BLOCK] = ((block - mean) / scale).cpu().numpy()
    return codes, classes


def product_rate(side: int, device: str) -> float:
    """Return the operations per second of a float32 matrix product, the best of 5."""
    one, other = (torch.randn((side, side), device=device) for _ in range(2))

    def once() -> float:
        finish(device)
        start = time.perf_counter()
        one @ other
        finish(device)
        return time.perf_counter() - start

    return 2 * side**3 / min(once() for _ in range(5))


def run(
    codes: NDArray[np.float32],
    classes: NDArray[np.int64],
    profile: Profile,
    *,
    clf: str,
    cs: tuple[float, ...],
    device: str,
) -> Run:
    """Fit a path over C, and score it outside of the measured time."""
    found = []
    with counted_products() as products:
        start = time.perf_counter()
        path = prepare_path(
            ArrayMatrix(codes[: profile.n]),
            classes[: profile.n],
            clf=clf,
            classes=profile.classes,
            max_c=max(cs),
            device=device,
        )
        finish(device)
        prepared = time.perf_counter() - start
        for solution in path.solve(cs, tol=_TOL):
            found.append(solution)
            if time.perf_counter() - start > profile.limit:
                break
        seconds = time.perf_counter() - start
    unseen, true = codes[profile.n :], classes[profile.n :]
    return Run(
        clf=clf,
        cs=tuple(solution.c for solution in found),
        prepared=prepared,
        seconds=seconds,
        passes=sum(solution.passes for solution in found),
        doubled=sum(double for _, double in products),
        operations=sum(operations for operations, _ in products),
        converged=sum(bool(solution.converged.all()) for solution in found),
        accuracy=max(
            float((solution.decision_function(unseen).argmax(axis=1) == true).mean())
            for solution in found
        ),
    )


@contextmanager
def counted_products() -> Iterator[list[tuple[float, bool]]]:
    """Record the operations of every pass over the rows, and whether it was in double precision.

    They are counted inside the solver, because converged classes leave the product.
    """
    plain, found = ArrayDesign.gradient, []

    def gradient(design: ArrayDesign, coefficients: Any, loss: Callable[..., Any]) -> Any:
        r, q = coefficients.shape
        found.append((4.0 * design.rows.shape[0] * r * q, not design.is_float32))
        return plain(design, coefficients, loss)

    with patch.object(ArrayDesign, "gradient", gradient):
        yield found


def _student(shape: tuple[int, int], random: torch.Generator) -> torch.Tensor:
    """Draw from Student's t distribution with 3 degrees of freedom."""
    normal, *others = (torch.randn(shape, generator=random, device=random.device) for _ in range(4))
    squares = sum((other.square() for other in others), torch.zeros((), device=random.device))
    return normal / (squares / 3).sqrt()


def _rows_that_fit(profile: Profile, device: str) -> int:
    row = 4 * profile.d
    free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if not device.startswith("cuda"):
        return min(profile.n, free // (row * (_ON_DEVICE + _ON_HOST)))
    card, _ = torch.cuda.mem_get_info(device)
    return min(profile.n, card // (row * _ON_DEVICE), free // (row * _ON_HOST))


def _row(found: Run, *, asked: int, rate: float) -> str:
    cs = f"{found.cs[0]:g}"
    if asked > 1:
        cs = f"{len(found.cs)} of {asked}, {cs} to {found.cs[-1]:.2g}"
    share = found.operations / (found.seconds - found.prepared) / rate
    return (
        f"| {found.clf} | {cs} | {found.seconds:.2f} | {found.prepared:.2f} "
        f"| {found.passes}, {found.doubled} | {share:.1%} "
        f"| {found.converged} of {len(found.cs)} | {found.accuracy:.1%} |"
    )


def finish(device: str) -> None:
    """Wait until a device has done what it was told."""
    if device.startswith("cuda"):
        torch.cuda.synchronize(device)
