"""The package shares its import name with PyData's: see docs/decisions/001-import-name.md."""

import gc
import importlib
import subprocess
import sys
from collections.abc import Callable
from types import ModuleType

import pytest

import bottleneck


def _run(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_the_version_stays_below_the_floor_of_pandas() -> None:
    from pandas.compat._optional import VERSIONS

    def numbers(version: str) -> list[int]:
        return [int(part) for part in version.split(".")]

    assert numbers(bottleneck.__version__) < numbers(VERSIONS["bottleneck"])


def test_pandas_works_beside_us_and_takes_no_mean_from_us() -> None:
    code = (
        "import warnings; warnings.simplefilter('ignore'); import bottleneck, pandas as pd; "
        "print(pd.Series([1.0, float('nan'), 3.0]).mean(), "
        "pd.core.nanops._BOTTLENECK_INSTALLED)"
    )
    assert _run(code) == "2.0 False"


def test_importing_the_package_imports_nothing_else() -> None:
    code = (
        "import sys; before = set(sys.modules); import bottleneck; "
        "print(sorted(set(sys.modules) - before))"
    )
    assert _run(code) == "['bottleneck']"


@pytest.mark.parametrize("collects", [True, False])
def test_no_garbage_is_looked_for_while_a_name_is_loaded(
    collects: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, plain = gc.isenabled(), importlib.import_module
    switch = {True: gc.enable, False: gc.disable}
    during: dict[str, bool] = {}

    def watched(name: str) -> ModuleType:
        during[name] = gc.isenabled()
        if name == "bottleneck.errors":
            raise ImportError(name)
        return plain(name)

    monkeypatch.setattr(importlib, "import_module", watched)
    load: Callable[[str], object] = vars(bottleneck)["__getattr__"]
    try:
        switch[collects]()
        assert load("Head").__module__ == "bottleneck.fitting.heads.head"
        assert gc.isenabled() is collects
        with pytest.raises(ImportError):
            load("BottleneckError")
        assert gc.isenabled() is collects
    finally:
        switch[before]()
    # Packages load their own names on the way, whose modules are no part of this.
    assert not during["bottleneck.fitting.heads.head"]
    assert not during["bottleneck.errors"]
