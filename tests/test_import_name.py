"""The package shares its import name with PyData's: see docs/decisions/001-import-name.md."""

import subprocess
import sys

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
