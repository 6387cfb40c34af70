"""Arrays of NumPy, PyTorch or another library with the array API, and their functions."""

from typing import Any

import array_api_compat
import numpy as np
from numpy.typing import NDArray

Array = Any  # of any of these libraries, for which typing has no name yet


def array_namespace(values: Array) -> Any:
    """Return the module with the functions of the array API for an array.

    NumPy has them itself since version 2.1. `array_api_compat` wraps them once more, and looks for
    every array's library anew: together a sixth of the time of a fit to a few dozen images.

    Parameters
    ----------
    values : array

    Examples
    --------
    >>> array_namespace(np.eye(2)).__name__
    'numpy'
    """
    if isinstance(values, np.ndarray | np.generic):
        return np
    return array_api_compat.array_namespace(values)


def to_numpy(values: Array) -> NDArray[np.float64]:
    """Copy an array of any library and device to a NumPy array of float64."""
    return np.asarray(array_api_compat.to_device(values, "cpu"), dtype=np.float64)


def epsilon(values: Array) -> float:
    """Return the distance from 1 to the next number of an array's dtype."""
    return float(array_namespace(values).finfo(values.dtype).eps)
