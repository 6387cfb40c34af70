import subprocess
import sys

import pytest

import bottleneck.linear
from bottleneck.linear import estimators


def test_the_estimators_are_names_of_the_package() -> None:
    assert bottleneck.linear.LinearSVM is estimators.LinearSVM
    assert bottleneck.linear.SoftmaxRegression is estimators.SoftmaxRegression
    assert {"LinearSVM", "SoftmaxRegression"} <= set(dir(bottleneck.linear))


def test_other_names_are_attribute_errors() -> None:
    with pytest.raises(AttributeError, match=r"No bottleneck\.linear attribute RidgeRegression"):
        getattr(bottleneck.linear, "RidgeRegression")  # noqa: B009


def test_importing_the_package_imports_neither_scikit_learn_nor_torch() -> None:
    code = (
        "import sys, bottleneck.linear; "
        "print([name for name in ('sklearn', 'torch', 'scipy') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
