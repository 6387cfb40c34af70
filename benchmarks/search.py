"""The whole search: every C of the grid, in every fold, for both classifiers."""

import time

import numpy as np
from codes import made_codes
from numpy.typing import NDArray
from sizes import FULL, Size
from sklearn.model_selection import StratifiedKFold

from bottleneck.classifiers import CLASSIFIERS, fit_path
from bottleneck.codes import InMemory, fit_preprocessing, prepare
from bottleneck.training import SEARCH_TOL


def whole_search(
    codes: NDArray[np.float32], classes: NDArray[np.int64], *, clf: str, size: Size
) -> NDArray[np.float64]:
    """The share of held-back rows that each C gets right, shape (len(size.grid),)."""
    right = np.zeros(len(size.grid))
    folds = StratifiedKFold(size.folds, shuffle=True, random_state=0)
    for train, unseen in folds.split(codes, classes):
        rows = InMemory(codes[train])
        preprocessing = fit_preprocessing("standardize", rows)
        held_back = preprocessing(codes[unseen])
        path = fit_path(
            prepare(rows, preprocessing),
            classes[train],
            clf=clf,
            cs=size.grid,
            classes=size.classes,
            tol=SEARCH_TOL,
        )
        for i, solution in enumerate(path):
            right[i] += (solution.margins(held_back).argmax(axis=1) == classes[unseen]).sum()
    return right / len(classes)


def markdown(size: Size = FULL) -> str:
    """Seconds of each classifier and of both."""
    data = made_codes(size.n, size.d, size.classes, test=size.test)
    lines, total = [], 0.0
    for clf in CLASSIFIERS:
        start = time.perf_counter()
        accuracy = whole_search(data.train, data.train_classes, clf=clf, size=size)
        seconds = time.perf_counter() - start
        total += seconds
        best = size.grid[int(accuracy.argmax())]
        lines.append(f"| {clf} | {seconds:.2f} | {best:.2g} | {accuracy.max():.1%} |")
    return "\n".join(
        [
            f"{data.caption}; {len(size.grid)} C from {size.grid[0]:g} to {size.grid[-1]:g}, "
            f"{size.folds} folds, each with its own preprocessing: "
            f"{len(size.grid) * size.folds} fits of each classifier, measured once.",
            "",
            "| classifier | seconds | best C | its accuracy in the folds |",
            "|---|---|---|---|",
            *lines,
            f"| both | {total:.2f} | | |",
        ]
    )
