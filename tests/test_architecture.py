"""The floors of the building: imports go downward, and each outside thing has one door."""

import ast
import importlib
import inspect
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "bottleneck"

# From the ground up. A module imports only from floors below its own, or from what stands
# before it on its own floor.
FLOORS = [
    floor.split()
    for floor in (
        "errors files clock allocator spec tables halves tasks stopping engines texts csv_blocks",
        "listing images decode weights backbone layers fusion graph lanes "
        "trust manifest seal hdf5 shard shelves index",
        "codes losses design coordinates descent solver metrics calibration",
        "encode store share salvage stored remote labels plan classifiers linear reference head",
        "pipeline preflight studio worker extract sizing verify training folds selection lesson",
        "fit sweep predict evaluate report results plot submit",
        "cli __main__",
    )
]

ORDER = [module for floor in FLOORS for module in floor]

DOORS = {
    "h5py": {"hdf5.py"},
    "click": {"cli"},
    "tqdm": {"cli"},
    "PIL": {"decode.py"},
    "torchvision": {"backbone.py", "decode.py"},
    "safetensors": {"weights.py", "head.py"},
    "sklearn": {"linear.py", "reference.py", "folds.py"},
    "scipy": {"calibration.py"},
    "psutil": {"stored.py"},
    "matplotlib": {"plot.py"},
    "joblib": {"engines.py"},
    "dask": {"engines.py"},
    "distributed": {"engines.py"},
}


def _modules() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def _imports(path: Path) -> Iterator[str]:
    """Every module that a file imports, inside its functions and for its types as well."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} has a relative import"
            yield node.module or ""
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _room(name: str) -> str | None:
    """The top module of a dotted name inside of the package."""
    parts = name.split(".")
    return parts[1] if parts[0] == "bottleneck" and len(parts) > 1 and parts[1] in ORDER else None


def test_every_module_has_its_floor() -> None:
    rooms = {path.relative_to(PACKAGE).parts[0].removesuffix(".py") for path in _modules()}
    assert rooms - {"__init__"} == set(ORDER)


@pytest.mark.parametrize("path", _modules(), ids=lambda path: path.stem)
def test_imports_go_downward_only(path: Path) -> None:
    own = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    if own == "__init__":
        assert list(_imports(path)) == []  # importing the package imports nothing
        return
    above = {
        room
        for room in map(_room, _imports(path))
        if room and ORDER.index(room) >= ORDER.index(own) and room != own
    }
    assert not above, f"{own} imports from above: {above}"


@pytest.mark.parametrize("library", DOORS)
def test_each_library_has_one_door(library: str) -> None:
    users = {
        path.relative_to(PACKAGE).parts[0]
        for path in _modules()
        if any(name.split(".")[0] == library for name in _imports(path))
    }
    assert users == DOORS[library]


def test_rooms_stay_small() -> None:
    lengths = {path.name: len(path.read_text("utf-8").splitlines()) for path in _modules()}
    assert {name: n for name, n in lengths.items() if n > 400} == {}


def _public() -> Iterator[tuple[str, object]]:
    for module in ORDER[:-1]:
        for name, value in vars(importlib.import_module(f"bottleneck.{module}")).items():
            own = getattr(value, "__module__", "") == f"bottleneck.{module}"
            if own and not name.startswith("_") and callable(value):
                yield f"{module}.{name}", value


PUBLIC = list(_public())


@pytest.mark.parametrize(("name", "value"), PUBLIC, ids=[name for name, _ in PUBLIC])
def test_what_is_public_has_a_docstring(name: str, value: object) -> None:
    assert value.__doc__, name
    if inspect.isclass(value):
        for method, function in vars(value).items():
            if not method.startswith("_") and inspect.isfunction(function):
                assert function.__doc__, f"{name}.{method}"


def test_no_broad_except() -> None:
    for path in _modules():
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.ExceptHandler):
                caught = ast.unparse(node.type) if node.type else ""
                assert caught not in ("", "Exception", "BaseException"), path


@pytest.mark.parametrize(
    "module", ["store", "share", "plan", "fit", "sweep", "plot", "head", "report", "verify"]
)
def test_fitting_loads_no_torch(module: str) -> None:
    code = f"import sys, bottleneck.{module}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
