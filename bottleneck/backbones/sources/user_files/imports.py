"""The files of a user's own that a Python file imports, directly or by others, by its source."""

import ast
import sys
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from types import ModuleType

from bottleneck.backbones.user_code import is_library


def imported_files(
    file: Path, roots: Sequence[Path], loaded: Mapping[str, ModuleType]
) -> dict[str, Path]:
    r"""Return the files below some folders that a Python file imports, and that these import.

    Every import statement counts, wherever it is: a factory often imports inside of a
    function. A module that is loaded from elsewhere, such as an installed package of the same
    name, does not.

    Parameters
    ----------
    file : Path
        The file that is executed.
    roots : sequence of Path
        Folders in which modules are looked for, the first one first.
    loaded : mapping of str to module
        Modules by name, while the file's own are loaded.

    Returns
    -------
    dict of str to Path
        By the module's name.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     root = Path(folder)
    ...     (root / "parts").mkdir()
    ...     _ = (root / "parts" / "__init__.py").write_text("from . import block")
    ...     _ = (root / "parts" / "block.py").write_text("import torch")
    ...     _ = (root / "net.py").write_text("def build():\n    import parts")
    ...     sorted(imported_files(root / "net.py", [root], {}))
    ['parts', 'parts.block']
    """
    found: dict[str, Path] = {}
    waiting = [("", file)]
    while waiting:
        module, path = waiting.pop()
        package = module if path.name == "__init__.py" else module.rpartition(".")[0]
        try:
            source = path.read_bytes()
        except OSError:
            continue  # it could not have been loaded
        for name in _imported_names(source, package):
            if _is_installed(name, loaded):
                continue
            for part, origin in _find(name, roots):
                if part not in found and _is_what_is_loaded(part, origin, loaded):
                    found[part] = origin
                    waiting.append((part, origin))
    return found


@lru_cache(maxsize=256)
def _imported_names(source: bytes, package: str) -> tuple[str, ...]:
    """Return the absolute names that the import statements of a package's file may load."""
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError):
        return ()  # it is not Python
    names: dict[str, None] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= dict.fromkeys(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            outer = package.split(".")[: len(package.split(".")) - node.level + 1]
            base = ".".join(filter(None, [*(outer if node.level else ()), node.module]))
            full = (".".join(filter(None, [base, alias.name])) for alias in node.names)
            names |= dict.fromkeys([*filter(None, [base]), *full])
    return tuple(names)


def _is_installed(name: str, loaded: Mapping[str, ModuleType]) -> bool:
    """Return whether a module belongs to a package that is loaded and no user's own."""
    file = getattr(loaded.get(name.partition(".")[0]), "__file__", None)
    return isinstance(file, str) and is_library(Path(file))


def _find(name: str, roots: Sequence[Path]) -> list[tuple[str, Path]]:
    """Return the files of a module and of the packages that it is in, each with its name."""
    for root in roots:
        found, folder = [], root
        parts = name.split(".")
        for i, part in enumerate(parts):
            package, module = folder / part / "__init__.py", folder / f"{part}.py"
            if package.is_file():
                found.append((".".join(parts[: i + 1]), package))
            elif module.is_file():
                found.append((".".join(parts[: i + 1]), module))
                break
            folder = folder / part  # a package may have no file
        if found:
            return found
    return []


def _is_what_is_loaded(name: str, source: Path, loaded: Mapping[str, ModuleType]) -> bool:
    if name in sys.builtin_module_names or is_library(source):
        return False
    file = getattr(loaded.get(name), "__file__", None)
    return not isinstance(file, str) or Path(file).resolve() == source.resolve()
