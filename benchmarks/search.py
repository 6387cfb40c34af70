"""The whole search: every C of the grid, in every fold, for both classifiers."""

import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
from codes import TrainTest, hymenoptera_codes, made_codes
from numpy.typing import NDArray
from sizes import FULL, Size
from sklearn.model_selection import StratifiedKFold
from sklearn_solver import sklearn_path
from versus import taking_turns

from bottleneck.linear.classifiers import CLASSIFIERS, fit_path
from bottleneck.linear.matrix import ArrayMatrix
from bottleneck.linear.path import Solution
from bottleneck.linear.scaling import fit_scaler
from bottleneck.linear.training import SEARCH_TOL

SolvePath = Callable[..., Iterator[Solution]]  # the classifiers of each C in turn

OURS: SolvePath = partial(fit_path, tol=SEARCH_TOL)


def whole_search(
    codes: NDArray[np.float32],
    classes: NDArray[np.int64],
    *,
    clf: str,
    size: Size,
    path: SolvePath = OURS,
) -> NDArray[np.float64]:
    """The share of held-back rows that each C gets right, shape (len(size.grid),)."""
    right = np.zeros(len(size.grid))
    k = len(np.unique(classes))
    folds = StratifiedKFold(size.folds, shuffle=True, random_state=0)
    for train, unseen in folds.split(codes, classes):
        rows = ArrayMatrix(codes[train])
        scaler = fit_scaler("standardize", rows)
        held_back = scaler(codes[unseen])
        scaled = rows.scaled(scaler)
        for i, solution in enumerate(
            path(scaled, classes[train], clf=clf, cs=size.grid, classes=k)
        ):
            margins = solution.decision_function(held_back)
            found = margins.argmax(axis=1) if k > 2 else (margins[:, 0] > 0).astype(np.int64)
            right[i] += (found == classes[unseen]).sum()
    return right / len(classes)


def markdown(size: Size = FULL) -> str:
    """Seconds of each classifier and of both; on photographs scikit-learn's too."""
    data = made_codes(size.n, size.d, size.classes, test=size.test)
    lines, total = [], 0.0
    for clf in CLASSIFIERS:
        start = time.perf_counter()
        accuracy = whole_search(data.train, data.train_classes, clf=clf, size=size)
        seconds = time.perf_counter() - start
        total += seconds
        best = size.grid[int(accuracy.argmax())]
        lines.append(f"| {clf} | {seconds:.2f} | {best:.2g} | {accuracy.max():.1%} |")
    parts = [
        f"{data.caption}; {len(size.grid)} C from {size.grid[0]:g} to {size.grid[-1]:g}, "
        f"{size.folds} folds, each with its own scaling: "
        f"{len(size.grid) * size.folds} fits of each classifier, measured once.",
        "",
        "| classifier | seconds | best C | its accuracy in the folds |",
        "|---|---|---|---|",
        *lines,
        f"| both | {total:.2f} | | |",
    ]
    if size.photographs:
        with tempfile.TemporaryDirectory() as folder:
            for photographs in hymenoptera_codes(Path(folder)):
                parts += ["", *_against_scikit_learn(photographs, size)]
    return "\n".join(parts)


def _against_scikit_learn(data: TrainTest, size: Size) -> list[str]:
    """The same search with this package's solver and with scikit-learn's, in turns."""
    lines = []
    for clf in CLASSIFIERS:
        searches = (
            partial(whole_search, data.train, data.train_classes, clf=clf, size=size, path=path)
            for path in (OURS, sklearn_path)
        )
        ours, theirs = taking_turns(*searches)
        lines.append(f"| {clf} | {ours:.3f} | {theirs:.3f} | {theirs / ours:.2g} |")
    return [
        f"{data.caption}: the same search, best of turns.",
        "",
        "| classifier | this solver, s | scikit-learn's, s | ratio |",
        "|---|---|---|---|",
        *lines,
    ]
