"""Measure the search over C: every C of the grid in every fold, for both classifiers."""

import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import StratifiedKFold

from benchmarks.fitting.sklearn_solver import sklearn_path
from benchmarks.fitting.vs_sklearn import best_seconds
from benchmarks.helpers.synthetic_codes import TrainTest, hymenoptera_codes, synthetic_codes
from benchmarks.profiles import FULL_FITTING, FittingProfile
from bottleneck.linear.classifiers import CLASSIFIERS, prepare_path
from bottleneck.linear.matrix import ArrayMatrix, CodeMatrix
from bottleneck.linear.scaling import fit_scaler
from bottleneck.linear.solver.path import Solution
from bottleneck.linear.training import SEARCH_TOL

SolvePath = Callable[..., Iterator[Solution]]  # from training data to a solution for each C


def solve_path(
    codes: CodeMatrix, targets: NDArray[Any], *, cs: Sequence[float], **options: Any
) -> Iterator[Solution]:
    """Train a classifier of this package for each C, in order."""
    return prepare_path(codes, targets, max_c=max(cs), **options).solve(cs, tol=SEARCH_TOL)


def whole_search(
    codes: NDArray[np.float32],
    classes: NDArray[np.int64],
    *,
    clf: str,
    profile: FittingProfile,
    path: SolvePath = solve_path,
) -> NDArray[np.float64]:
    """Return the cross-validated accuracy of each C, shape (len(profile.grid),)."""
    right = np.zeros(len(profile.grid))
    k = len(np.unique(classes))
    folds = StratifiedKFold(profile.folds, shuffle=True, random_state=0)
    for train, unseen in folds.split(codes, classes):
        rows = ArrayMatrix(codes[train])
        scaler = fit_scaler("standardize", rows)
        validation = scaler(codes[unseen])
        scaled = rows.scaled(scaler)
        for i, solution in enumerate(
            path(scaled, classes[train], clf=clf, cs=profile.grid, classes=k)
        ):
            margins = solution.decision_function(validation)
            found = margins.argmax(axis=1) if k > 2 else (margins[:, 0] > 0).astype(np.int64)
            right[i] += (found == classes[unseen]).sum()
    return right / len(classes)


def markdown(profile: FittingProfile = FULL_FITTING) -> str:
    """Return the seconds of each classifier; for photographs, scikit-learn's as well."""
    data = synthetic_codes(profile.n, profile.d, profile.classes, test=profile.test)
    lines, total = [], 0.0
    for clf in CLASSIFIERS:
        start = time.perf_counter()
        accuracy = whole_search(data.train, data.train_classes, clf=clf, profile=profile)
        seconds = time.perf_counter() - start
        total += seconds
        best = profile.grid[int(accuracy.argmax())]
        lines.append(f"| {clf} | {seconds:.2f} | {best:.2g} | {accuracy.max():.1%} |")
    parts = [
        f"{data.caption}; {len(profile.grid)} C from {profile.grid[0]:g} to {profile.grid[-1]:g}, "
        f"{profile.folds} folds, each with its own scaling: "
        f"{len(profile.grid) * profile.folds} fits of each classifier, measured once.",
        "",
        "| classifier | seconds | best C | its accuracy in the folds |",
        "|---|---|---|---|",
        *lines,
        f"| both | {total:.2f} | | |",
    ]
    if profile.photographs:
        with tempfile.TemporaryDirectory() as folder:
            for photographs in hymenoptera_codes(Path(folder)):
                parts += ["", *_against_scikit_learn(photographs, profile)]
    return "\n".join(parts)


def _against_scikit_learn(data: TrainTest, profile: FittingProfile) -> list[str]:
    """Compare the same search with this package's solver and with scikit-learn's."""
    lines = []
    for clf in CLASSIFIERS:
        searches = (
            partial(
                whole_search, data.train, data.train_classes, clf=clf, profile=profile, path=path
            )
            for path in (solve_path, sklearn_path)
        )
        ours, theirs = best_seconds(*searches)
        lines.append(f"| {clf} | {ours:.3f} | {theirs:.3f} | {theirs / ours:.2g} |")
    return [
        f"{data.caption}: the same search, best of turns.",
        "",
        "| classifier | this solver, s | scikit-learn's, s | ratio |",
        "|---|---|---|---|",
        *lines,
    ]
