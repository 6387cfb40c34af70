"""Arrays that count how much of them is read."""

from typing import Any

import numpy as np


class Compared(np.ndarray[Any, Any]):
    """Numbers that count how many of them NumPy's functions read."""

    count = 0

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **options: Any) -> Any:
        Compared.count += max(np.size(each) for each in inputs)
        plain = [np.asarray(each) if isinstance(each, Compared) else each for each in inputs]
        result = getattr(ufunc, method)(*plain, **options)
        return result.view(Compared) if isinstance(result, np.ndarray) else result
