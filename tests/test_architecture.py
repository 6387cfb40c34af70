"""The architecture: allowed imports, no cycles, faces, one door for each outside library, sizes."""

import ast
import graphlib
import importlib
import inspect
import io
import pkgutil
import re
import subprocess
import sys
import tokenize
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import make_architecture
import pytest
from make_architecture import (
    PACKAGES,
    imported_names,
    module_graph,
    modules,
    package_graph,
    parsed,
)

import bottleneck

# What each package may import, besides the modules of `FOUNDATION`, which are below all.
ALLOWED = {
    "runtime": "",
    "data": "runtime",
    "backbones": "runtime",
    "cache": "runtime data",
    "extraction": "runtime data backbones cache",
    "linear": "runtime",
    "fitting": "runtime data cache linear",
    "auditing": "runtime data cache linear fitting",
    "finetuning": "runtime data backbones cache extraction linear fitting",
    "advising": "runtime data cache linear fitting finetuning",
    "prediction": "runtime data backbones cache extraction fitting finetuning",
    "reporting": "runtime data cache fitting auditing prediction",
    "exporting": "runtime backbones data linear extraction fitting finetuning prediction",
    "cli": "runtime cache extraction fitting finetuning prediction",
}
FOUNDATION = {"errors", "input_transform", "model_reference", "pooling", "spec"}

DOORS = {
    "h5py": {"cache.format.hdf5", "data.sources.arrays.hdf5"},
    "pyarrow": {"data.sources.tables.parquet"},
    "tqdm": {"cli.progress", "runtime.progress_bar"},
    "PIL": {
        *("data.resizing.resize", "data.resizing.thumbnail"),
        *(
            f"data.decoding.{name}"
            for name in (
                *("decode", "decoder_errors", "deep", "formats", "multiband"),
                *("pillow_decoder", "scaled"),
            )
        ),
    },
    "simplejpeg": {"data.decoding.decode"},
    "openvino": {"backbones.inference.openvino_replica"},
    "huggingface_hub": {"backbones.sources.hub"},
    "timm": {"backbones.sources.timm_models"},
    "torchvision": {"runtime.imports.torchvision_import"},
    "safetensors": {
        "backbones.checkpoints.reading",
        "backbones.read_errors",
        "finetuning.training.checkpoint",
        "fitting.heads.classifier_file",
    },
    "sklearn": {"linear.estimators", "exporting.sklearn_pipeline"},
    "skops": {"exporting.sklearn_pipeline"},
    "onnx": {"exporting.onnx_file"},
    "onnxscript": {"exporting.onnx_file"},
    "onnxruntime": {"prediction.exported.onnx_model"},
    "scipy": {
        "auditing.duplicates",
        "fitting.scoring.intervals",
        "fitting.scoring.paired",
        "linear.calibration",
    },
    "psutil": {"runtime.process.resources"},
    "matplotlib": {
        "fitting.plotting.fit_plot",
        "fitting.plotting.fonts",
        "fitting.plotting.style",
        "fitting.plotting.picture",
        "fitting.plotting.sweep_plot",
    },
    "joblib": {"runtime.executors.loky_executor"},
    "dask": {"runtime.executors.dask_executor"},
    "distributed": {"runtime.executors.dask_executor"},
}

TORCH_FREE = (
    *("runtime", "data", "cache", "linear", "fitting", "auditing", "advising"),
    *("reporting", "cli"),
)

MODULES = modules()
ROOT = Path(__file__).parents[1]


def test_every_package_has_its_row() -> None:
    folders = {path.parent.name for path in make_architecture.PACKAGE.glob("*/__init__.py")}
    assert folders == set(PACKAGES) == set(ALLOWED)


def test_packages_import_what_they_may_and_nothing_else() -> None:
    assert package_graph() == {name: set(allowed.split()) for name, allowed in ALLOWED.items()}
    assert sum(map(len, package_graph().values())) <= 58


def test_neither_packages_nor_modules_import_in_a_circle() -> None:
    graphlib.TopologicalSorter(package_graph()).prepare()
    graphlib.TopologicalSorter(module_graph()).prepare()


def folder_graph(name: str) -> dict[str, set[str]]:
    """Return what each folder of a package imports of the package's other folders and modules."""
    graph: dict[str, set[str]] = {}
    for module, imported in module_graph().items():
        if module.startswith(f"{name}."):
            inner = {_folder(each) for each in imported if each.startswith(f"{name}.")}
            graph.setdefault(_folder(module), set()).update(inner - {_folder(module)})
    return graph


@pytest.mark.parametrize("name", PACKAGES)
def test_folders_inside_of_a_package_import_in_no_circle(name: str) -> None:
    graphlib.TopologicalSorter(folder_graph(name)).prepare()


def _folder(module: str) -> str:
    """Return the folder of a package that a module is in; the module itself if it is in none."""
    return ".".join(module.split(".")[:2])


def test_the_foundation_imports_no_package() -> None:
    for name in FOUNDATION:
        assert module_graph()[name] <= FOUNDATION


def test_importing_the_package_imports_nothing() -> None:
    statements = ast.parse(MODULES[""].read_text("utf-8")).body
    assert not any(isinstance(node, (ast.Import, ast.ImportFrom)) for node in statements)


@pytest.mark.parametrize("name", PACKAGES)
def test_only_what_a_face_exports_crosses_packages(name: str) -> None:
    for module, path in MODULES.items():
        package = module.split(".")[0]
        if package in ("", name):
            continue
        for source, imported in imported_names(path):
            if source.startswith(f"bottleneck.{name}."):
                pytest.fail(f"{module} imports {imported} from inside of {source}")
            if source == f"bottleneck.{name}":
                face = importlib.import_module(source)
                assert imported in face.__all__, f"{module} imports {imported} from {source}"


@pytest.mark.parametrize("name", PACKAGES)
def test_a_face_has_all_that_it_exports(name: str) -> None:
    face = importlib.import_module(f"bottleneck.{name}")
    assert face.__all__ == sorted(set(face.__all__))
    for exported in face.__all__:
        assert getattr(face, exported) is not None


@pytest.mark.parametrize("library", DOORS)
def test_each_library_has_its_doors(library: str) -> None:
    users = {
        name
        for name, path in MODULES.items()
        if any(module.split(".")[0] == library for module, _ in imported_names(path))
    }
    assert users == DOORS[library]


def test_the_command_line_alone_knows_click() -> None:
    users = {
        name.split(".")[0]
        for name, path in MODULES.items()
        if any(module.split(".")[0] == "click" for module, _ in imported_names(path))
    }
    assert users == {"cli"}


def test_packages_that_need_no_torch_load_none() -> None:
    heavy = [
        *("cache.torch_dataset", "data.decoding.nvjpeg"),
        *("data.resizing.device_squares", "data.resizing.torch_resampling"),
        *("runtime.imports.deferred_compiler", "runtime.imports.torchvision_import"),
        "runtime.imports.torchvision_functional",
    ]
    light = [name for name in MODULES if name.split(".")[0] in TORCH_FREE and name not in heavy]
    code = "import importlib, sys\nfor name in sys.argv[1:]:\n"
    code += "    importlib.import_module(f'bottleneck.{name}')\n"
    code += "    assert 'torch' not in sys.modules, f'{name} loads torch'"
    done = subprocess.run([sys.executable, "-c", code, *light], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()


# Sizes


def test_folders_stay_small() -> None:
    """So that a listing shows what is what; each command has a module."""
    folders = Counter(
        name.rpartition(".")[0] for name, path in MODULES.items() if path.stem != "__init__"
    )
    del folders["cli.commands"]
    assert {name: n for name, n in folders.items() if n > 12} == {}


def test_modules_stay_small() -> None:
    lengths = {name: len(path.read_text("utf-8").splitlines()) for name, path in MODULES.items()}
    assert {name: n for name, n in lengths.items() if n > 400} == {}


def _functions() -> Iterator[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef]]:
    for name, path in MODULES.items():
        for node in parsed(path):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                yield f"{name}.{node.name}", node


def _code_lines(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    lines = (node.end_lineno or 0) - node.lineno + 1
    first = node.body[0]
    if ast.get_docstring(node, clean=False) is not None:
        lines -= (first.end_lineno or 0) - first.lineno + 1
    return lines


def test_functions_stay_small() -> None:
    long = {name: _code_lines(node) for name, node in _functions() if _code_lines(node) > 60}
    assert long == {}


def test_functions_have_few_parameters() -> None:
    def count(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
        every = node.args
        own = [*every.posonlyargs, *every.args, *every.kwonlyargs]
        return sum(argument.arg not in ("self", "cls") for argument in own)

    # A click command has a parameter for each of its options.
    counts = {name: count(node) for name, node in _functions() if not name.startswith("cli.")}
    assert {name: n for name, n in counts.items() if n > 12} == {}


# Tests

# Tests of several packages at once, by what they have in common.
CROSSING = {"tests/faults", "tests/integration"}
# Tests of the project as a whole.
WHOLE = {"architecture", "docs", "examples", "gallery", "import_name"}


def test_a_file_of_tests_has_the_name_and_the_folder_of_what_it_tests() -> None:
    """Its name is a module's, or a package's, after which it may say of what of it."""
    for path in ROOT.glob("tests/**/test_*.py"):
        if path.parent.relative_to(ROOT).as_posix() in CROSSING:
            continue
        folder = make_architecture.PACKAGE / path.parent.relative_to(ROOT / "tests")
        subjects = {each.stem.strip("_") for each in folder.iterdir()} | {folder.name}
        subjects |= WHOLE if folder == make_architecture.PACKAGE else set()
        words = path.stem.removeprefix("test_").split("_")
        starts = {"_".join(words[:n]) for n in range(1, len(words) + 1)}
        assert starts & subjects, f"{path} names no module of {folder}"


def test_test_files_do_not_import_each_other() -> None:
    for path in ROOT.glob("tests/**/test_*.py"):
        if not re.search(r"\bimport\b.*\btest_|\bfrom\b.*\btest_", path.read_text("utf-8")):
            continue  # to parse all of them takes seconds
        for source, name in imported_names(path):
            assert ".test_" not in f"{source}.{name}", f"{path} imports {source}"


# Documentation


def _public() -> Iterator[tuple[str, object]]:
    for info in pkgutil.walk_packages(bottleneck.__path__, "bottleneck."):
        if info.name == "bottleneck.__main__":
            continue
        for name, value in vars(importlib.import_module(info.name)).items():
            own = getattr(value, "__module__", "") == info.name
            own &= getattr(value, "__name__", name) == name  # and not made by a function of it
            if own and not name.startswith("_") and callable(value):
                yield f"{info.name.removeprefix('bottleneck.')}.{name}", value


def _public_methods() -> Iterator[tuple[str, object]]:
    for name, value in _public():
        for method, function in vars(value).items() if inspect.isclass(value) else ():
            if not method.startswith("_") and inspect.isfunction(function):
                yield f"{name}.{method}", function


def test_public_names_have_docstrings() -> None:
    public = [*_public(), *_public_methods()]
    assert len(public) > 1000
    assert [name for name, value in public if not value.__doc__] == []


@pytest.mark.parametrize("name", sorted(vars(bottleneck)["__all__"]))
def test_public_functions_have_an_example(name: str) -> None:
    assert ">>>" in (getattr(bottleneck, name).__doc__ or ""), name


def test_the_stub_names_what_the_package_has() -> None:
    stub = Path(bottleneck.__file__).with_suffix(".pyi").read_text("utf-8")
    lines = re.findall(r"^from bottleneck\.(\S+) import (\w+) as \w+$", stub, re.M)
    assert {name: home for home, name in lines} == vars(bottleneck)["_HOMES"]
    for name in vars(bottleneck)["__all__"]:
        assert getattr(bottleneck, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nanmean'"):
        getattr(bottleneck, "nanmean")  # noqa: B009  (pandas asks for such names)


def test_what_a_function_returns_is_a_name_of_the_package() -> None:
    public = set(vars(bottleneck)["__all__"])
    for name in sorted(public - {"open_executor"}):  # the executor is handed on, never looked at
        function = getattr(bottleneck, name)
        if inspect.isfunction(function):
            returned = inspect.formatannotation(inspect.signature(function).return_annotation)
            assert public & set(re.findall(r"\w+(?![\w.])", returned)), f"{name} -> {returned}"


def test_no_broad_except() -> None:
    for name, path in MODULES.items():
        for node in parsed(path):
            if isinstance(node, ast.ExceptHandler):
                caught = ast.unparse(node.type) if node.type else ""
                assert caught not in ("", "Exception", "BaseException"), name


def test_the_command_line_alone_spells_options() -> None:
    option = re.compile(r"(?<![\w-])--[a-z][a-z-]+")
    for name, path in MODULES.items():
        if name.split(".")[0] == "cli" or name == "runtime.schedulers.slurm":
            continue  # they write command lines
        source = path.read_text("utf-8")
        if not option.search(source):
            continue  # to find the tokens of all of them takes seconds
        for token in tokenize.generate_tokens(io.StringIO(source).readline):
            text = token.string if token.type in (tokenize.STRING, tokenize.COMMENT) else ""
            assert not option.search(text), f"{name}: {token.line.strip()}"


def test_the_page_and_the_drawing_are_those_of_the_code() -> None:
    text = make_architecture.PAGE.read_text("utf-8")
    assert text == make_architecture.page(text), "run `make docs`"
    assert make_architecture.DRAWING.read_text("utf-8") == make_architecture.drawing()


def test_the_page_names_modules_and_folders_that_exist() -> None:
    named = set(re.findall(r"`([a-z_]+(?:/[a-z_]+)+)`", make_architecture.PAGE.read_text("utf-8")))
    assert "linear/solver" in named
    places = [make_architecture.PACKAGE / name for name in sorted(named)]
    assert [at for at in places if not (at.is_dir() or at.with_suffix(".py").exists())] == []


def test_no_arrow_of_the_drawing_runs_behind_a_box() -> None:
    drawing = make_architecture.drawing()
    arrows = re.findall(r'<line x1="(\d+)" y1="(\d+)" x2="(\d+)" y2="(\d+)"', drawing)
    boxes = re.findall(r'<rect x="(\d+)" y="(\d+)" width="(\d+)" height="(\d+)"', drawing)
    assert arrows and len(boxes) == len(make_architecture.PACKAGES)
    for x1, y1, x2, y2 in (map(int, arrow) for arrow in arrows):
        for left, top, width, height in (map(int, box) for box in boxes):
            if y1 < top and top + height < y2:  # an arrow goes down, past the rows between
                xs = [x1 + (x2 - x1) * (y - y1) / (y2 - y1) for y in (top, top + height)]
                assert max(xs) < left or min(xs) > left + width, (x1, y1, left, top)
