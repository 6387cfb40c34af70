"""Linear classifiers of codes: objectives, solver, calibration and scikit-learn estimators."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bottleneck.linear.estimators import LinearSVM, SoftmaxRegression

__all__ = ["LinearSVM", "SoftmaxRegression"]


def __getattr__(name: str) -> Any:
    """Import an estimator, and scikit-learn with it, when it is first used."""
    if name in __all__:
        from bottleneck.linear import estimators

        return getattr(estimators, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
