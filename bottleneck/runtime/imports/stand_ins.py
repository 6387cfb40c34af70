"""Import a module without another one that it asks for and hardly ever needs."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType


@contextmanager
def stand_in(module: ModuleType) -> Iterator[None]:
    """Let imports in this block find a module where that of its name is not there yet.

    Parameters
    ----------
    module : ModuleType
        Has what is asked of it while it is imported from. Afterwards, its name is free again.

    Examples
    --------
    >>> from types import ModuleType
    >>> with stand_in(ModuleType("heavy_and_unused")):
    ...     import heavy_and_unused
    """
    name = module.__name__
    sys.modules.setdefault(name, module)
    try:
        yield
    finally:
        if sys.modules.get(name) is module:
            del sys.modules[name]
