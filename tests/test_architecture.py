"""The architecture: which package may import which, one door for each outside library."""

import ast
import graphlib
import importlib
import inspect
import pkgutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import bottleneck

PACKAGE = Path(bottleneck.__file__).parent

DOORS = {
    "h5py": {"cache.hdf5"},
    "tqdm": {"cli.progress"},
    "PIL": {"data.decode"},
    "torchvision": {"backbones.torchvision_models", "data.decode"},
    "safetensors": {"backbones.weights", "fitting.head"},
    "sklearn": {"linear.estimators", "fitting.folds"},
    "scipy": {"linear.calibration"},
    "psutil": {"runtime.resources"},
    "matplotlib": {"reporting.sweep_plot"},
    "joblib": {"runtime.executors"},
    "dask": {"runtime.executors"},
    "distributed": {"runtime.executors"},
}

MODULES = {
    ".".join(path.relative_to(PACKAGE).with_suffix("").parts): path
    for path in sorted(PACKAGE.rglob("*.py"))
}


def imports(path: Path) -> Iterator[str]:
    """Every dotted name that a file imports, inside its functions and for its types as well."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} has a relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def imported_modules(path: Path) -> set[str]:
    """The package's own modules that a file imports, by their dotted names inside the package."""
    found = set()
    for name in imports(path):
        inside = name.removeprefix("bottleneck.")
        for candidate in (inside, inside.rpartition(".")[0]):
            if name != inside and candidate in MODULES:
                found.add(candidate)
                break
    return found


def test_modules_import_each_other_in_no_circle() -> None:
    graphlib.TopologicalSorter(
        {name: imported_modules(path) for name, path in MODULES.items()}
    ).prepare()


def test_importing_the_package_imports_nothing() -> None:
    assert list(imports(MODULES["__init__"])) == []


@pytest.mark.parametrize("library", DOORS)
def test_each_library_has_its_doors(library: str) -> None:
    users = {
        name
        for name, path in MODULES.items()
        if any(found.split(".")[0] == library for found in imports(path))
    }
    assert users == DOORS[library]


def test_the_command_line_alone_knows_click() -> None:
    users = {
        name
        for name, path in MODULES.items()
        if any(found.split(".")[0] == "click" for found in imports(path))
    }
    assert users
    assert {name.split(".")[0] for name in users} == {"cli"}


def test_modules_stay_small() -> None:
    lengths = {name: len(path.read_text("utf-8").splitlines()) for name, path in MODULES.items()}
    assert {name: n for name, n in lengths.items() if n > 400} == {}


def _public() -> Iterator[tuple[str, object]]:
    for found in pkgutil.walk_packages(bottleneck.__path__, "bottleneck."):
        if found.name in ("bottleneck.__main__",):
            continue
        for name, value in vars(importlib.import_module(found.name)).items():
            own = getattr(value, "__module__", "") == found.name
            if own and not name.startswith("_") and callable(value):
                yield f"{found.name.removeprefix('bottleneck.')}.{name}", value


PUBLIC = list(_public())


@pytest.mark.parametrize(("name", "value"), PUBLIC, ids=[name for name, _ in PUBLIC])
def test_what_is_public_has_a_docstring(name: str, value: object) -> None:
    assert value.__doc__, name
    if inspect.isclass(value):
        for method, function in vars(value).items():
            if not method.startswith("_") and inspect.isfunction(function):
                assert function.__doc__, f"{name}.{method}"


def test_no_broad_except() -> None:
    for name, path in MODULES.items():
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.ExceptHandler):
                caught = ast.unparse(node.type) if node.type else ""
                assert caught not in ("", "Exception", "BaseException"), name


@pytest.mark.parametrize(
    "module",
    [
        "cache.store",
        "cache.update",
        "extraction.work",
        "fitting.fit",
        "fitting.sweep",
        "fitting.head",
        "reporting.sweep_plot",
        "cache.verify",
    ],
)
def test_fitting_loads_no_torch(module: str) -> None:
    code = f"import sys, bottleneck.{module}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
