"""Import what a user's file imports from its neighbours, and know which files these are.

While a factory's file is loaded, its folder is the first in which modules are looked for, as if it
were run by Python. Afterwards its neighbours are forgotten, so that another file's neighbours of
the same names are not taken for them.
"""

import importlib
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import ModuleType, TracebackType

from bottleneck.backbones.sources.user_files.imports import imported_files
from bottleneck.backbones.user_code import is_library
from bottleneck.runtime import sha256

_PROGRAM = __name__.partition(".")[0]

# Digests of modules of the user's that stay loaded, because they are found by PYTHONPATH: one that
# has changed on the disk since is to be imported again.
_LOADED: dict[str, str] = {}


class OwnModules:
    """A block in which a file may import its neighbours.

    Nothing of the block is left in this process: neither in ``sys.path`` nor, of the neighbours, in
    ``sys.modules``. Modules that were there before and have a neighbour's name are set aside until
    the end. Only one thread may be in such a block.

    Parameters
    ----------
    file : Path
        The file that is executed in the block.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = (Path(folder) / "parts.py").write_text("DEPTH = 3")
    ...     _ = (Path(folder) / "net.py").write_text("import parts")
    ...     with OwnModules(Path(folder) / "net.py") as own:
    ...         import parts
    ...     print(parts.DEPTH, "parts" in sys.modules, [path.name for path in own.files.values()])
    3 False ['parts.py']
    """

    def __init__(self, file: Path) -> None:
        self._file, self._folder = file.resolve(), file.resolve().parent
        self.files: dict[str, Path] = {}

    def digest(self) -> str:
        """Return the SHA-256 over the file and, after the block, the user's files that it imports.

        A file that imports none has the digest of its bytes.
        """
        parts = [self._file.read_bytes()]
        for name, path in sorted(self.files.items()):
            parts += [f"\n{name}\n".encode(), path.read_bytes()]
        return sha256(*parts)

    def __enter__(self) -> "OwnModules":
        self._path, self._writes_bytecode = [*sys.path], sys.dont_write_bytecode
        self._set_aside = _take(_with_a_neighbours_name(self._folder))
        _take(_changed_since())
        self._before = set(sys.modules)
        # A file that is edited twice in a second has the time of its old bytecode.
        sys.dont_write_bytecode = True
        importlib.invalidate_caches()
        sys.path.insert(0, str(self._folder))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        new = {name: sys.modules[name] for name in sys.modules if name not in self._before}
        roots = [self._folder, *_own_roots(sys.path)]
        added = [Path(entry) for entry in sys.path if entry not in self._path]
        own = {name: file for name, module in new.items() if (file := _own_file(module, roots))}
        if error is None:
            files = imported_files(self._file, roots, sys.modules) | own
            self.files = {n: f for n, f in files.items() if f.resolve() != self._file}
        _take(name for name, module in new.items() if _lies_in(module, [self._folder, *added]))
        kept = [file for name, file in own.items() if name in sys.modules]
        _LOADED.update({str(file): sha256(file.read_bytes()) for file in kept})
        sys.modules.update(self._set_aside)
        sys.path[:], sys.dont_write_bytecode = self._path, self._writes_bytecode


def _with_a_neighbours_name(folder: Path) -> list[str]:
    """Return the names of modules of the user's own that would hide what lies in a folder."""
    neighbours = {
        entry.stem for entry in folder.iterdir() if entry.suffix == ".py" or entry.is_dir()
    }
    named = [name for name in sys.modules if name.partition(".")[0] in neighbours]
    return [name for name in named if _is_own(sys.modules[name])]


def _changed_since() -> list[str]:
    """Return the names of all modules that were loaded here, if one has changed since."""
    changed = any(
        Path(file).is_file() and sha256(Path(file).read_bytes()) != digest
        for file, digest in _LOADED.items()
    )
    if not changed:
        return []
    return [
        name for name, module in sys.modules.items() if getattr(module, "__file__", None) in _LOADED
    ]


def _take(names: Iterable[str]) -> dict[str, ModuleType]:
    """Remove modules from ``sys.modules``, and return them by name."""
    return {name: sys.modules.pop(name) for name in list(names)}


def _own_file(module: ModuleType, roots: list[Path]) -> Path | None:
    """Return the file of a module that lies in one of some folders."""
    file = getattr(module, "__file__", None)
    return Path(file) if isinstance(file, str) and _lies_in(module, roots) else None


def _is_own(module: ModuleType) -> bool:
    """Return whether a module is a user's: not Python's, not installed, not this program."""
    name = getattr(module, "__name__", "") or ""
    if name.partition(".")[0] in (_PROGRAM, "__main__", "__mp_main__"):
        return False
    places = list(_places(module))
    return bool(places) and not any(map(is_library, places))


def _places(module: ModuleType) -> Iterator[Path]:
    """Yield the file of a module, or the folders of a package that has no file."""
    file = getattr(module, "__file__", None)
    if isinstance(file, str):
        yield Path(file).absolute()
    else:
        for folder in getattr(module, "__path__", ()):
            yield Path(folder).absolute()


def _lies_in(module: ModuleType, folders: list[Path]) -> bool:
    return _is_own(module) and any(
        place.is_relative_to(folder.absolute()) for place in _places(module) for folder in folders
    )


def _own_roots(entries: Iterable[str]) -> Iterator[Path]:
    """Yield the folders in which Python looks for modules of a user's own."""
    for entry in entries:
        folder = Path(entry or ".").absolute()
        if folder.is_dir() and not is_library(folder):
            yield folder
