"""Import a module without another one that it asks for and hardly ever needs."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType


@contextmanager
def stand_in(module: ModuleType) -> Iterator[None]:
    """Replace a module that is not imported yet, for imports in this block.

    Parameters
    ----------
    module : ModuleType
        It must have the names that are imported from it. It is removed after the block.

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
