"""Options that have scikit-learn's own solvers train a classifier, as a reference for tests."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from benchmarks.fitting.sklearn_solver import sklearn_path
from bottleneck.linear.solver.path import Solution
from bottleneck.linear.training import ClassifierOptions, PathSolver, TrainingSet


@dataclass(frozen=True)
class SklearnOptions(ClassifierOptions):
    """A classifier that scikit-learn trains."""

    def _prepare(self, training: TrainingSet, max_c: float) -> PathSolver:
        return _SklearnPath(training, self)


@dataclass(frozen=True)
class _SklearnPath:
    training: TrainingSet
    options: ClassifierOptions

    def solve(self, cs: Sequence[float], *, tol: float) -> Iterator[Solution]:
        return sklearn_path(
            self.training.codes,
            self.training.targets,
            clf=self.options.clf,
            cs=cs,
            classes=self.training.classes,
            class_weight=self.options.class_weight,
        )
