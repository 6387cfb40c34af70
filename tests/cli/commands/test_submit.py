"""`bottleneck submit`."""

import os
import subprocess
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from bottleneck.runtime.schedulers.slurm import (
    PROGRAM,
    extraction_array_script,
    job_script,
    quote_args,
)
from tests.helpers.batch_scripts import bash, calls, directives, tool
from tests.helpers.cli import refused
from tests.helpers.fixture_types import Run

EXTRACT = ("extract", "photos", "-o", "new.cache", "--model", "resnet50", "--layer", "layer3")
FIT = ("fit", "new.cache", "--clf", "svm")


@pytest.fixture
def sbatch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Keeps the script that it is given."""
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    return tool(tmp_path, "sbatch", '#!/bin/bash\ncat > "$0.script"\necho 4711\n')


def test_standard_output_is_the_script_alone(run: Run) -> None:
    result = run("submit", "slurm", "--tasks", 16, "--time=2:00:00", "-p", "gpu", "--", *EXTRACT)
    assert result.exit_code == 0
    assert result.stdout == extraction_array_script(
        EXTRACT[1:], tasks=16, options=["--time=2:00:00", "-p", "gpu"]
    )
    assert subprocess.run(["bash", "-n"], input=result.stdout, text=True, check=True)


def test_an_extraction_is_an_array_of_one_unless_more_are_asked_for(run: Run) -> None:
    assert "--array=0-0" in directives(run("submit", "slurm", "--", *EXTRACT).stdout)


@pytest.mark.parametrize(
    ("words", "layers"),
    [
        (FIT, []),
        ((*FIT, "--layer", "layer3"), ["layer3"]),
        (("sweep", "new.cache", "--layer", "a", "--layer", "b"), ["a", "b"]),
        (("sweep", "new.cache"), []),
        (("fit", "--clf", "svm", "--", "-odd.cache"), []),  # the first mark alone is ours
    ],
)
def test_jobs_that_train_require_their_layers_of_the_cache(
    run: Run, words: tuple[str, ...], layers: list[str]
) -> None:
    cache = Path("-odd.cache" if "-odd.cache" in words else "new.cache")
    found = run("submit", "slurm", "--mem=1G", "--", *words).stdout
    assert found == job_script(words, cache=cache, layers=layers, options=["--mem=1G"])


def test_the_cache_may_stand_in_the_configuration(run: Run, tmp_path: Path) -> None:
    (tmp_path / "bottleneck.toml").write_text('[fit]\ncache = "my.cache"\n')
    found = run("submit", "slurm", "--", "fit", "--clf", "svm").stdout
    assert found == job_script(["fit", "--clf", "svm"], cache=Path("my.cache"))


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
# Sixty characters with a suffix are at most 255 bytes: no longer name can be a file's.
@given(st.text(st.characters(exclude_characters="\0", codec="utf-8"), min_size=1, max_size=60))
@example("a b'\"$HOME\\\r\n#SBATCH -x")
def test_paths_reach_the_tasks_as_they_were_given(run: Run, name: str) -> None:
    words = ["-o", f"{name}.cache", "--model", f"./{name}.py:f", "--layer", name, "--", name]
    script = run("submit", "slurm", "--tasks", 4, "--", "extract", *words).stdout_bytes.decode()
    with tempfile.TemporaryDirectory() as folder:
        program = tool(Path(folder), "program")
        assert bash(script.replace(quote_args(PROGRAM), "program"), Path(folder)).returncode == 0
        assert calls(program) == [["extract", "--task", "3/4", *words]]


@pytest.mark.parametrize(
    ("words", "parts", "code"),
    [
        (["slurm"], ["Missing a command after `--`"], 2),
        (["slurm", *EXTRACT], ["Missing a command after `--`"], 2),
        (["slurm", "--"], ["Missing a command after `--`"], 2),
        (["pbs", "--", *FIT], ["pbs", "slurm"], 2),
        (["slurm", "--", "fitt", "c"], ["unknown command 'fitt'", "did you mean fit?"], 2),
        (["slurm", "--", "layers", "m"], ["unknown command 'layers'", "extract"], 2),
        (["slurm", "--", *FIT, "--clff"], ["--clff"], 2),
        (["slurm", "--", "fit", "c"], ["--clf"], 2),
        (["slurm", "--", *FIT, "--c", "1", "--c", "2"], ["--c is given 2 times"], 2),
        (["slurm", "--", *EXTRACT, "--crop", "x"], ["--crop", "'x'"], 2),
        (["slurm", "--", *EXTRACT, "--task", "0/4"], ["--task: each task"], 2),
        (["slurm", "--tasks", "4", "--", *FIT], ["--tasks 4: fit is one job"], 2),
        (["slurm", "--tasks", "0", "--", *EXTRACT], ["--tasks"], 2),
        (["slurm", "photos", "--", *EXTRACT], ["'photos': must be an option of sbatch"], 2),
        (["slurm", "--comment=a b", "--", *EXTRACT], ["'--comment=a b'", "#SBATCH"], 2),
    ],
)
def test_commands_that_would_fail_in_every_job_are_refused(
    run: Run, sbatch: Path, words: list[str], parts: list[str], code: int
) -> None:
    refused(run("submit", words[0], "--submit", *words[1:]), *parts, code=code)
    assert not Path(f"{sbatch}.script").exists()


def test_submitted_the_number_alone_is_printed(run: Run, sbatch: Path) -> None:
    result = run("submit", "slurm", "--tasks", 2, "--submit", "--", *EXTRACT)
    assert (result.exit_code, result.stdout) == (0, "4711\n")
    assert Path(f"{sbatch}.script").read_text() == extraction_array_script(EXTRACT[1:], tasks=2)


def test_without_slurm_there_is_one_line(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    refused(run("submit", "slurm", "--submit", "--", *EXTRACT), "there is no sbatch here")
