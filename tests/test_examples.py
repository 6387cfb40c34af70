"""The examples in the docstrings of the package run and print what they say."""

import doctest
import importlib
import linecache
from pathlib import Path

import make_architecture
import pytest

ROOT = Path(__file__).parents[1]
MODULES = [f"bottleneck.{name}".removesuffix(".") for name in make_architecture.modules()]


@pytest.mark.parametrize("name", [name for name in MODULES if not name.endswith("__main__")])
def test_the_examples_of_a_module_run(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)  # some read the bundled digits
    printed: list[str] = []
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    linecache.clearcache()  # each run of a docstring's examples looks at every file in it
    for example in doctest.DocTestFinder().find(importlib.import_module(name), name):
        runner.run(example, out=printed.append)
    assert runner.failures == 0, "".join(printed)
