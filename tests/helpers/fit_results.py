"""The result of a fit that nothing was trained for."""

import dataclasses
from typing import Any

import numpy as np

from bottleneck.fitting.fit_result import FitResult
from bottleneck.fitting.heads.head import Head
from bottleneck.fitting.loading.features import Features
from bottleneck.fitting.scoring.scores import score_classes
from bottleneck.fitting.selection.search_result import Candidate, SearchResult
from bottleneck.linear.scaling import FeatureScaler
from bottleneck.linear.solver.path import Solution
from tests.helpers.datasets import REFERENCE, SPEC

HELD_OUT = score_classes(
    np.array([0, 0, 1, 1]), np.array([0, 1, 1, 1]), ["ants", "bees"], split="val"
)


def candidate(c: float, *scores: float) -> Candidate:
    return Candidate("l2", c, scores, 1e-4, True)


def a_fit(**changes: Any) -> FitResult:
    k, d = 2, 3
    head = Head(
        clf="svm",
        features=Features(("layer3",)),
        classes=["ants", "bees"],
        coef=np.zeros((k, d)),
        intercept=np.zeros(k),
        scaler=FeatureScaler("l2", (d,), np.zeros(d), np.ones(d)),
        calibration=None,
        multilabel=False,
        spec=SPEC,
        reference=REFERENCE,
        training_record={},
    )
    best = candidate(0.1, 0.5, 0.7)
    candidates = [candidate(0.01, 0.4, 0.4), best, candidate(1.0, 0.4, 0.4)]
    ones = np.ones(1)
    result = FitResult(
        head=head,
        c=0.1,
        search=SearchResult(best, candidates, 2, "accuracy"),
        heldout=HELD_OUT,
        ece=0.034,
        train=123,
        shares={"layer3": 1.0},
        solution=Solution(0.1, ones[None], ones, ones, ones * 0.02, ones > 0, 7),
        seconds=1.26,
    )
    return dataclasses.replace(result, **changes)
