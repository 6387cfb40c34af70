import importlib
import re
import tomllib
from pathlib import Path

import pytest

from bottleneck.errors import MissingPackageError
from bottleneck.runtime.imports.optional_package import optional_package

_EXTRA = re.compile(r"(?:optional_package|installation)\(['\"](\w+)['\"]")


def test_an_import_that_fails_names_its_module_and_the_extra() -> None:
    words = (
        r"^a.parquet needs no_such_package.inside, which is not installed: "
        r"`pip install 'bottleneck-features\[parquet\]'`$"
    )
    with (
        pytest.raises(MissingPackageError, match=words) as caught,
        optional_package("parquet", needed_by=Path("a.parquet")),
    ):
        raise ModuleNotFoundError("No module", name="no_such_package.inside")
    assert isinstance(caught.value, ImportError)


def test_an_import_that_succeeds_is_left_alone() -> None:
    with optional_package("parquet", needed_by="a.parquet"):
        importlib.import_module("colorsys")
    with pytest.raises(KeyError), optional_package("parquet", needed_by="a.parquet"):
        raise KeyError("not of an import")


def test_every_extra_that_a_message_names_exists() -> None:
    root = Path(__file__).parents[3]
    extras = tomllib.loads((root / "pyproject.toml").read_text("utf-8"))["project"]
    named = {
        extra
        for path in (root / "bottleneck").rglob("*.py")
        for extra in _EXTRA.findall(path.read_text("utf-8"))
    }
    assert {"dask", "heif", "onnx", "openvino", "parquet", "skops", "timm"} <= named
    assert named <= set(extras["optional-dependencies"])
