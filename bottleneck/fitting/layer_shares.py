"""How much each of several layers contributes to a classifier's decision values."""

import numpy as np
from numpy.typing import NDArray

from bottleneck.linear import CodeMatrix, FeatureScaler, column_blocks, standard_deviations


def layer_shares(
    coef: NDArray[np.float64], codes: CodeMatrix, scaler: FeatureScaler
) -> NDArray[np.float64]:
    """Return the share of each layer in the decision values of a classifier.

    It is the length of a layer's coefficients, each times the standard deviation of its scaled
    feature, as a share of the sum over layers; after the group norms of U. Evci et al., "Head2Toe:
    utilizing intermediate representations for better transfer learning" (2022). Layers that say the
    same divide what they contribute: a small share does not say that a layer alone is bad.

    Parameters
    ----------
    coef : ndarray of float64, shape (q, d)
        Coefficients of scaled codes.
    codes : CodeMatrix
        Training rows, read once; not at all where there is one layer.
    scaler : FeatureScaler
        Scaling of the codes.

    Returns
    -------
    ndarray of float64, shape (layers,)
        Sums to 1; all equal if no coefficient counts.

    Examples
    --------
    >>> from bottleneck.linear import ArrayMatrix
    >>> codes = ArrayMatrix(np.array([[0.0, 5.0, 1.0], [2.0, 5.0, 3.0]]))
    >>> scaler = FeatureScaler("none", (1, 2), np.zeros(3), np.ones(3))
    >>> layer_shares(np.array([[3.0, 7.0, 1.0]]), codes, scaler).tolist()
    [0.75, 0.25]
    """
    count = len(scaler.sizes)
    if count == 1:
        return np.ones(1)
    weighted = coef * standard_deviations(codes.scaled(scaler))
    lengths = np.array([np.linalg.norm(weighted[:, each]) for each in column_blocks(scaler.sizes)])
    total = lengths.sum()
    return lengths / total if total > 0 else np.full(count, 1 / count)
