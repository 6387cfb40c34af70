"""Train softmax regression as one would by hand: torch's L-BFGS with its own line search."""

from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import cross_entropy

# Of the mean loss. With 1e-4 it stops early where C is large; with 1e-6, it takes twice as long.
_GRADIENT = 1e-5
_ITERATIONS = 1000


class TorchLBFGS:
    """LogisticRegression's objective, divided by C and the number of rows, in float32.

    Parameters
    ----------
    C : float
        Weight of the loss against the penalty ½‖w‖².

    Examples
    --------
    >>> X = np.array([[-1.0], [0.0], [1.0]], dtype=np.float32)
    >>> TorchLBFGS(C=10.0).fit(X, np.array([0, 1, 2])).predict(X).tolist()
    [0, 1, 2]
    """

    max_iter = _ITERATIONS

    def __init__(self, C: float) -> None:
        self.C = C

    def fit(self, X: NDArray[Any], y: NDArray[Any]) -> Self:
        """Train on classes from 0; of two, the second has the one column."""
        (n, d), k = X.shape, int(y.max()) + 1
        rows, classes = torch.from_numpy(X), torch.from_numpy(y)
        columns = k if k > 2 else 1
        coef = torch.zeros((d, columns), requires_grad=True)
        intercept = torch.zeros(columns, requires_grad=True)
        optimizer = torch.optim.LBFGS(
            [coef, intercept],
            max_iter=_ITERATIONS,
            tolerance_grad=_GRADIENT,
            line_search_fn="strong_wolfe",
        )

        def objective() -> torch.Tensor:
            optimizer.zero_grad()
            margins = rows @ coef + intercept
            if k == 2:
                margins = torch.cat([torch.zeros_like(margins), margins], dim=1)
            loss: torch.Tensor = cross_entropy(margins, classes) + (coef**2).sum() / (
                2 * self.C * n
            )
            loss.backward()  # type: ignore[no-untyped-call]
            return loss

        optimizer.step(objective)  # type: ignore[no-untyped-call]
        self.coef_, self.intercept_ = coef.detach().numpy().T, intercept.detach().numpy()
        self.n_iter_ = optimizer.state[coef]["n_iter"]
        return self

    def predict(self, X: NDArray[Any]) -> NDArray[Any]:
        """Return the class with the highest margin, shape (n,)."""
        margins = X @ self.coef_.T + self.intercept_
        if len(self.coef_) == 1:
            margins = np.concatenate([0 * margins, margins], axis=1)
        return np.asarray(margins.argmax(axis=1))
