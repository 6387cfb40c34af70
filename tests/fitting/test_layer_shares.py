from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from bottleneck.fitting.layer_shares import layer_shares
from bottleneck.linear.matrix import ArrayMatrix
from bottleneck.linear.scaling import SCALINGS, fit_scaler
from tests.helpers.problems import Rows


@pytest.mark.parametrize("in_memory", [True, False])
@pytest.mark.parametrize("scaling", SCALINGS)
def test_shares_are_group_norms_of_what_each_feature_adds(scaling: str, in_memory: bool) -> None:
    random = np.random.default_rng(0)
    X, coef = np.abs(random.normal(size=(50, 7))) * np.arange(1, 8), random.normal(size=(3, 7))
    X[:, 2] = 0.1  # adds nothing, whatever its coefficients
    codes = ArrayMatrix(X) if in_memory else Rows(X, [20, 20, 10], in_memory=False)
    scaler = fit_scaler(scaling, codes, (3, 4))
    added: NDArray[Any] = coef[:, None, :] * scaler(X)  # to each class's value of each image
    norms = [np.linalg.norm(added[:, :, part].std(axis=1)) for part in (slice(3), slice(3, 7))]
    found = layer_shares(coef, codes, scaler)
    np.testing.assert_allclose(found, norms / np.sum(norms), rtol=1e-6)


def test_one_layer_has_all_and_is_not_read() -> None:
    codes = Rows(np.ones((4, 2)), in_memory=False)
    scaler = fit_scaler("none", codes)
    assert layer_shares(np.ones((1, 2)), codes, scaler).tolist() == [1.0]
    assert codes.reads == 0


def test_layers_share_nothing_alike() -> None:
    codes = ArrayMatrix(np.ones((4, 2)))
    scaler = fit_scaler("none", codes, (1, 1))
    assert layer_shares(np.ones((1, 2)), codes, scaler).tolist() == [0.5, 0.5]
