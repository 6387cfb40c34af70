"""A power law of the number of images, fitted to learning curves by weighted least squares."""

import numpy as np
from numpy.typing import NDArray

_EXPONENTS = np.geomspace(0.05, 2, 40)


def fit_power_law(
    images: NDArray[np.float64], scores: NDArray[np.float64], errors: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Fit ``a - b * images ** -c`` with a ≤ 1 and b ≥ 0 by weighted least squares.

    Parameters
    ----------
    images : ndarray of float64, shape (p,)
        Numbers of images, each above 0.
    scores : ndarray of float64, shape (m, p)
        m curves.
    errors : ndarray of float64, shape (p,)
        Standard error of each point, above 0.

    Returns
    -------
    ndarray of float64, shape (m, 3)
        a, b and c of each curve; c is one of 40 exponents from 0.05 to 2.

    Examples
    --------
    >>> images = np.array([100.0, 200.0, 400.0, 800.0])
    >>> scores = 0.9 - 2 * images[None] ** -0.5
    >>> fit_power_law(images, scores, np.full(4, 0.01)).round(1)
    array([[0.9, 1.9, 0.5]])
    """
    weight = errors**-2 / np.sum(errors**-2)
    powers = images ** -_EXPONENTS[:, None]  # (exponents, p)
    mean_power, mean = powers @ weight, scores @ weight
    spread = powers - mean_power[:, None]
    slope = (scores * weight) @ spread.T / (spread**2 @ weight)  # (m, exponents)
    b = np.maximum(-slope, 0)
    a = mean[:, None] + b * mean_power
    above = a > 1  # then a is 1, and b alone is fitted
    through_one = ((1 - scores) * weight) @ powers.T / (powers**2 @ weight)
    a, b = np.where(above, 1, a), np.where(above, np.maximum(through_one, 0), b)
    residuals = a[..., None] - b[..., None] * powers - scores[:, None]
    best = (residuals**2 @ weight).argmin(axis=1)
    at = np.arange(len(scores))
    return np.column_stack([a[at, best], b[at, best], _EXPONENTS[best]])


def power_law(laws: NDArray[np.float64], images: float) -> NDArray[np.float64]:
    """Return the value of each law at a number of images.

    Parameters
    ----------
    laws : ndarray of float64, shape (m, 3)
        a, b and c, as `fit_power_law` gives them.
    images : float
        Above 0.

    Returns
    -------
    ndarray of float64, shape (m,)

    Examples
    --------
    >>> power_law(np.array([[0.9, 2.0, 0.5]]), 400.0).tolist()
    [0.8]
    """
    return np.asarray(laws[:, 0] - laws[:, 1] * images ** -laws[:, 2])
