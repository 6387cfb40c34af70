"""Batch scripts, run by a real bash in place of Slurm."""

import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from bottleneck.errors import InvalidOptionError, SchedulerError
from bottleneck.runtime.schedulers.slurm import (
    PROGRAM,
    extraction_array_script,
    job_script,
    quote_args,
    sbatch,
)
from tests.helpers.batch_scripts import (
    RECORD,
    bash,
    calls,
    directives,
    job_environment,
    started,
    tool,
)

# What bash and a command line can hold: any bytes but NUL, as Python reads them.
WORDS = st.lists(
    st.binary(min_size=0, max_size=12).filter(lambda b: b"\0" not in b).map(os.fsdecode)
)
HARD = [
    "a b",
    "",
    "$HOME",
    "`id`",
    "'",
    '"',
    "\\",
    "-x",
    "--",
    "ä€",
    "a\nb",
    "a\r\n#SBATCH -x",
    "!",
    "*",
]

# Each example starts a process or more.
in_bash = settings(max_examples=settings().max_examples // 3, deadline=None)


@in_bash
@given(WORDS)
@example(HARD)
def test_words_arrive_as_they_were_given_and_keep_to_one_line(words: list[str]) -> None:
    text = quote_args(words)
    assert not set("\r\n") & set(text)
    script = b"printf '%s\\0' " + os.fsencode(text)
    found = subprocess.run(["bash", "-c", script], capture_output=True, check=True).stdout
    expected = words or [""]  # printf says its format once even without words
    assert [os.fsdecode(word) for word in found.split(b"\0")[:-1]] == expected


@in_bash
@given(WORDS)
@example(HARD)
def test_each_task_gets_the_words_and_its_part(words: list[str]) -> None:
    with tempfile.TemporaryDirectory(prefix="a b'") as name:
        folder = Path(name)
        program = tool(folder, "program")
        script = extraction_array_script(words, tasks=16, program=[str(program), "-P"])
        assert bash(script, folder).returncode == 0
        assert calls(program) == [["-P", "extract", "--task", "3/16", *words]]


@in_bash
@given(WORDS)
@example(HARD)
def test_a_job_looks_at_the_cache_and_then_runs_its_command(words: list[str]) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        program = tool(folder, "program")
        script = job_script(
            ["fit", *words], cache=Path("-a b"), layers=["x y", "z"], program=[str(program)]
        )
        assert bash(script, folder).returncode == 0
        gate = ["status", "--layer", "x y", "--layer", "z", "--", "-a b"]
        assert calls(program) == [gate, ["fit", *words]]


@pytest.mark.parametrize("code", [3, 1])
def test_a_job_whose_cache_is_not_complete_ends_as_status_does(tmp_path: Path, code: int) -> None:
    program = tool(tmp_path, "program", f"{RECORD}exit {code}\n")
    script = job_script(["fit", "c"], cache=Path("c"), program=[str(program)])
    assert bash(script, tmp_path).returncode == code
    assert calls(program) == [["status", "--", "c"]]


# What Slurm reads of a script


def test_an_array_is_requeued_and_signalled_before_its_end() -> None:
    script = extraction_array_script(["photos"], tasks=16, options=["--time=2:00:00", "-p", "gpu"])
    assert script.startswith("#!/bin/bash\n#SBATCH --job-name=extract\n#SBATCH --array=0-15\n")
    assert directives(script) == [
        *("--job-name=extract", "--array=0-15", "--requeue", "--open-mode=append"),
        "--signal=B:USR1@120",
        "--time=2:00:00 -p gpu",  # after our own, so that they prevail
    ]
    assert directives(job_script(["fit"], cache=Path("c"))) == ["--job-name=fit"]


def test_a_word_cannot_pass_for_an_option_of_slurm() -> None:
    script = extraction_array_script(["a\n#SBATCH --exclusive\n"], tasks=1)
    assert not any(line.startswith("#SBATCH --exclusive") for line in script.splitlines())


@pytest.mark.parametrize(
    "option", ["--comment=a b", "--comment='a'", "--x=\\", "--x=a#b", "", "\n"]
)
def test_options_that_an_sbatch_line_cannot_hold_are_refused(option: str) -> None:
    with pytest.raises(InvalidOptionError, match="able to be written in an #SBATCH line"):
        extraction_array_script(["photos"], tasks=2, options=["--time=1", option])


def test_a_word_before_the_options_is_refused() -> None:
    with pytest.raises(InvalidOptionError, match="options='photos'`: must be an option of sbatch"):
        extraction_array_script([], tasks=2, options=["photos", "--time=1"])


def test_the_program_is_this_python_wherever_it_is_started(tmp_path: Path) -> None:
    (tmp_path / "bottleneck").mkdir()  # a folder of the user's, of our name
    (tmp_path / "click.py").write_text("raise SystemExit(9)")
    done = subprocess.run(
        [*PROGRAM, "--version"], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("bottleneck, version ")


def test_cores_are_those_of_the_job(tmp_path: Path) -> None:
    program = tool(tmp_path, "program", '#!/bin/bash\necho "$OMP_NUM_THREADS" >> "$0.threads"\n')
    for script in (
        extraction_array_script([], tasks=1, program=[str(program)]),
        job_script(["fit"], cache=Path("c"), program=[str(program)]),
    ):
        bash(script, tmp_path)
        bash(script, tmp_path, SLURM_CPUS_PER_TASK="2")
    assert Path(f"{program}.threads").read_text().split() == ["5", "2", "5", "5", "2", "2"]


# The end of a job's time


@pytest.mark.parametrize(
    ("code", "restarts", "queued"),
    [(138, "", True), (138, "9", True), (138, "10", False), (0, "", False), (137, "", False)],
)
def test_a_run_that_was_stopped_is_queued_again_but_not_for_ever(
    tmp_path: Path, code: int, restarts: str, queued: bool
) -> None:
    scontrol = tool(tmp_path, "scontrol")
    program = tool(tmp_path, "program", f"#!/bin/bash\nexit {code}\n")
    more = {"SLURM_RESTART_COUNT": restarts} if restarts else {}
    done = bash(extraction_array_script([], tasks=4, program=[str(program)]), tmp_path, **more)
    assert done.returncode == code
    assert calls(scontrol) == ([["requeue", "7_3"]] if queued else [])


SLOW = """#!/bin/bash
trap 'echo told >> "$0.told"; left=20' USR1
left=200
echo > "$0.begun"
until [ $((left--)) -eq 0 ]; do sleep 0.05; done
exit {code}
"""


@pytest.mark.parametrize("code", [138, 0])
def test_a_signal_to_the_shell_reaches_the_run_and_its_end_is_waited_for(
    tmp_path: Path, code: int
) -> None:
    scontrol = tool(tmp_path, "scontrol")
    program = tool(tmp_path, "program", SLOW.format(code=code))
    returned = _signalled(program, [signal.SIGUSR1, signal.SIGUSR1])
    assert returned == code
    assert _told(program) == 2
    assert len(calls(scontrol)) == (code == 138)


def test_a_shell_that_is_terminated_lets_its_run_end_in_order(tmp_path: Path) -> None:
    program = tool(tmp_path, "program", SLOW.format(code=143))
    assert _signalled(program, [signal.SIGTERM, signal.SIGUSR1]) == 143


def _signalled(program: Path, signals: Sequence[signal.Signals]) -> int:
    folder = program.parent
    script = extraction_array_script([], tasks=4, program=[str(program)])
    with subprocess.Popen(started(script, folder), env=job_environment(folder)) as shell:
        limit = time.monotonic() + 30
        while not Path(f"{program}.begun").exists():
            assert time.monotonic() < limit
            time.sleep(0.01)
        for number, sent in enumerate(signals, start=1):
            time.sleep(0.1)
            shell.send_signal(sent)
            while _told(program) < signals[:number].count(signal.SIGUSR1):  # or two would be one
                assert shell.poll() is None
                time.sleep(0.01)
        return shell.wait(timeout=30)


def _told(program: Path) -> int:
    file = Path(f"{program}.told")
    return len(file.read_text().split()) if file.exists() else 0


# Submission


def test_a_script_is_handed_over_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tool(tmp_path, "sbatch", f'{RECORD}cat > "$0.script"\necho "4711;cluster"\n')
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    script = extraction_array_script(["ä", "\udcff"], tasks=2)
    assert sbatch(script) == "4711"
    assert calls(program) == [["--parsable"]]
    assert Path(f"{program}.script").read_bytes() == os.fsencode(script)


def test_a_refusal_by_slurm_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tool(tmp_path, "sbatch", "#!/bin/bash\nprintf 'no such\\npartition\\n' >&2\nexit 1\n")
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    with pytest.raises(SchedulerError, match=r"^sbatch refused the job: no such partition$"):
        sbatch("")


def test_where_there_is_no_slurm_nothing_is_submitted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SchedulerError, match="no sbatch here"):
        sbatch("")
