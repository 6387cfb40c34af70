"""Small problems compute with one thread of BLAS, and leave the others as they were."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from threadpoolctl import ThreadpoolController

from bottleneck.linear import classifiers
from bottleneck.linear.classifiers import prepare_path
from bottleneck.linear.matrix import ArrayMatrix
from bottleneck.linear.solver.arithmetic import single_thread
from bottleneck.linear.solver.design import ArrayDesign, Design, GradientPass
from bottleneck.linear.solver.eigenbasis import make_design


def threads() -> int:
    libraries = ThreadpoolController().select(user_api="blas").lib_controllers
    return max(int(library.num_threads) for library in libraries)


@pytest.fixture
def two_threads() -> Iterator[None]:
    with ThreadpoolController().limit(limits=2, user_api="blas"):
        if threads() != 2:
            pytest.skip("this BLAS has one thread")
        yield


@pytest.mark.usefixtures("two_threads")
def test_one_thread_on_a_condition() -> None:
    with single_thread(when=True):
        assert threads() == 1
    with single_thread(when=False):
        assert threads() == 2
    assert threads() == 2


@pytest.mark.usefixtures("two_threads")
@pytest.mark.parametrize("small", [True, False])
def test_a_small_problem_is_solved_with_one_thread(
    small: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []
    gradient = ArrayDesign.gradient

    def decomposed(*arguments: Any, **options: Any) -> Design:
        seen.append(threads())
        return make_design(*arguments, **options)

    def observed(*arguments: Any) -> GradientPass:
        seen.append(threads())
        return gradient(*arguments)

    monkeypatch.setattr(classifiers, "make_design", decomposed)
    monkeypatch.setattr(ArrayDesign, "gradient", observed)
    if not small:
        monkeypatch.setattr("bottleneck.linear.solver.path.SMALL_PRODUCT", 0)
        monkeypatch.setattr(classifiers, "SMALL_DECOMPOSITION", 0)
    codes = ArrayMatrix(np.random.default_rng(0).normal(size=(40, 8)))
    path = prepare_path(codes, np.arange(40) % 3, clf="svm", classes=3)
    for _ in path.solve([0.1, 1.0]):
        assert threads() == 2  # between two values of C, and for the caller
    assert set(seen) == {1 if small else 2}
    assert len(seen) > 2
