"""Options that have scikit-learn's own solvers train a classifier, as a reference for tests."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from benchmarks.fitting.sklearn_solver import sklearn_path
from bottleneck.linear.path import Solution
from bottleneck.linear.training import ClassifierOptions, TrainingSet


@dataclass(frozen=True)
class SklearnOptions(ClassifierOptions):
    """A classifier that scikit-learn trains."""

    def _solve(
        self, training: TrainingSet, cs: Sequence[float], *, tol: float
    ) -> Iterator[Solution]:
        return sklearn_path(
            training.codes,
            training.targets,
            clf=self.clf,
            cs=cs,
            classes=training.classes,
            class_weight=self.class_weight,
        )
