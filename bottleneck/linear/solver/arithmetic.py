"""How products are computed: by one thread where they are small, and in float32 itself.

The threads of a product wait for each other in loops that keep their cores busy. Where another
process has one of the cores, a small product then takes some thirty times as long, and on an idle
machine it is no faster than with one thread.
"""

from contextlib import AbstractContextManager, nullcontext
from functools import cache

import array_api_compat
from threadpoolctl import ThreadpoolController

from bottleneck.linear.solver.array_api import Array
from bottleneck.runtime import EXACT_FLOAT32

# Multiplications of a product, and of a decomposition, up to which one thread was as fast.
SMALL_PRODUCT, SMALL_DECOMPOSITION = 4e6, 3e8


def single_thread(*, when: bool) -> AbstractContextManager[object]:
    """Limit the BLAS that NumPy calls to one thread, on a condition.

    Parameters
    ----------
    when : bool
        Whether to limit it.

    Examples
    --------
    >>> import numpy as np
    >>> with single_thread(when=True):
    ...     product = np.eye(2) @ np.eye(2)
    """
    return _controller().limit(limits=1, user_api="blas") if when else nullcontext()


def exact_float32(array: Array) -> AbstractContextManager[object]:
    """Compute products of float32 exactly in float32, if the array is of PyTorch.

    A process may have allowed TF32 for a training of its own. The rows of a problem would be
    rotated with 10 bits, and all that is proved of a minimum would be of other rows.

    Parameters
    ----------
    array : array
        Of the library and device that computes.

    Examples
    --------
    >>> import numpy as np
    >>> with exact_float32(np.eye(2)):  # NumPy has nothing to set
    ...     product = np.eye(2) @ np.eye(2)
    """
    return EXACT_FLOAT32 if array_api_compat.is_torch_array(array) else nullcontext()


@cache
def _controller() -> ThreadpoolController:
    """Return the handle of the libraries that are loaded now: NumPy's BLAS is one of them."""
    return ThreadpoolController()
