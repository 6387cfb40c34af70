"""Half precision: stored codes as float32, at the speed of memory.

NumPy converts float16 number by number, which takes three times as long as to read and check the
file. The bits of a float16 are those of a float32 with 13 more zeros behind and an exponent that
begins 112 lower, so that three operations on whole arrays do the same.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

_AT_ONCE = 1 << 16  # numbers, so that they stay in a core's cache from one operation to the next
_ALL_ONES = 0x7C00  # the exponent of infinity and NaN
_SIGN_AND_NUMBER = np.int32(0x8FFFE000 - (1 << 32))  # without what the sign's shift left behind
_EXPONENTS_APART = np.float32(2.0**112)


def widen_float16(codes: NDArray[Any]) -> NDArray[np.float32]:
    """The same numbers in float32.

    Parameters
    ----------
    codes : ndarray of float16 or float32, of one axis at least

    Returns
    -------
    ndarray of float32, same shape
        Contiguous; equal to ``codes.astype(np.float32)``, bit by bit.
    """
    codes = np.ascontiguousarray(codes)
    if codes.dtype != np.float16:
        return codes.astype(np.float32, copy=False)
    wide = np.empty(codes.shape, dtype=np.float32)
    source, target = codes.reshape(-1), wide.reshape(-1)
    for start in range(0, len(source), _AT_ONCE):
        _widen(source[start : start + _AT_ONCE], target[start : start + _AT_ONCE])
    return wide


def _widen(halves: NDArray[np.float16], floats: NDArray[np.float32]) -> None:
    if ((halves.view(np.uint16) & _ALL_ONES) == _ALL_ONES).any():
        floats[...] = halves
        return
    bits = floats.view(np.int32)
    bits[...] = halves.view(np.int16)
    bits <<= 13
    bits &= _SIGN_AND_NUMBER
    floats *= _EXPONENTS_APART
