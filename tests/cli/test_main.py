"""The program: its help, bottleneck.toml, and how errors reach the user."""

import importlib.metadata
import json
import os
import re
import subprocess
import sys
from collections.abc import Collection, Iterator
from pathlib import Path

import click
import pytest

from bottleneck import __version__
from bottleneck.cache import COMPRESSIONS, DTYPES
from bottleneck.cli import main
from bottleneck.cli.main import COMMANDS
from bottleneck.finetuning.options import BATCH_NORMS, INITS, OPTIMIZERS
from bottleneck.finetuning.options import PRECISIONS as TUNE_PRECISIONS
from bottleneck.fitting.plotting import style
from bottleneck.fitting.scoring.metrics import METRICS
from bottleneck.fitting.selection.options import RULES
from bottleneck.linear import CLASSIFIERS, SCALINGS
from tests.helpers import cli
from tests.helpers.cli import TINY, contents, process, program, refused
from tests.helpers.fixture_types import Run
from tests.helpers.networks import PLAIN

made, photos, cache = cli.made, cli.photos, cli.cache

# Help


def _command(name: str) -> click.Command:
    command = main.get_command(click.Context(main), name)
    assert command is not None
    return command


def test_the_program_lists_every_command_with_a_summary(run: Run) -> None:
    help_text = run("--help").stdout
    for name in COMMANDS:
        assert re.search(rf"^  {name} +\w+ .*\.$", help_text, flags=re.MULTILINE)


@pytest.mark.parametrize(
    ("command", "option", "known"),
    [
        *(("fit", "--clf", CLASSIFIERS), ("fit", "--scaling", (*SCALINGS, "auto"))),
        *(("fit", "--metric", METRICS), ("fit", "--rule", RULES)),
        *(("tune", "--init", INITS), ("tune", "--optimizer", OPTIMIZERS)),
        *(("tune", "--batch-norm", BATCH_NORMS), ("tune", "--precision", TUNE_PRECISIONS)),
        *(("extract", "--dtype", DTYPES), ("extract", "--compression", COMPRESSIONS)),
    ],
)
def test_choices_are_those_of_the_library(
    command: str, option: str, known: Collection[str]
) -> None:
    """The commands name them once more: importing the library for `--help` doubles its time."""
    (found,) = [each for each in _command(command).params if option in each.opts]
    assert isinstance(found.type, click.Choice)
    assert set(found.type.choices) == set(known)


def test_a_sweep_compares_all_classifiers() -> None:
    (found,) = [each for each in _command("sweep").params if each.name == "clfs"]
    assert tuple(found.default) == CLASSIFIERS == tuple(style.CLASSIFIERS)  # type: ignore[arg-type]


def test_the_program_shows_an_example_of_a_whole_run(run: Run) -> None:
    examples = [
        line.split() for line in run("--help").stdout.splitlines() if "Example:" not in line
    ]
    shown = [words[1] for words in examples if words[:1] == ["bottleneck"]]
    assert {"extract", "fit", "predict"} <= set(shown)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_an_example_that_begins_with_its_name(run: Run, name: str) -> None:
    result = run(name, "--help")
    assert result.exit_code == 0
    after = result.stdout.split("Example:\n")[1]
    assert after.lstrip().startswith(f"bottleneck {name} ")


@pytest.mark.parametrize("name", COMMANDS)
def test_every_parameter_is_listed_and_every_option_has_a_help_text(run: Run, name: str) -> None:
    help_text = run(name, "--help").stdout
    usage, options = help_text.split("\n", 1)[0], help_text.split("\nOptions:\n")[1]
    mute = []
    for parameter in _command(name).params:
        if isinstance(parameter, click.Option):
            assert all(flag in options for flag in parameter.opts)
            if not parameter.help:
                mute.append(parameter.opts[-1])
        else:
            assert parameter.make_metavar(click.Context(main)) in usage
    assert mute == []


@pytest.mark.parametrize("name", COMMANDS)
def test_the_short_flag_gives_the_same_help(run: Run, name: str) -> None:
    assert run(name, "-h").stdout == run(name, "--help").stdout


def test_the_version_is_the_packages(run: Run) -> None:
    assert run("--version").stdout == f"bottleneck, version {__version__}\n"


def test_the_list_of_commands_cuts_no_line_off(run: Run) -> None:
    assert "..." not in run("--help").output.partition("Commands:")[2]


def test_no_command_at_all_shows_the_help(run: Run) -> None:
    result = run()
    assert result.exit_code == 2
    assert all(name in result.output for name in COMMANDS)


@pytest.mark.parametrize("name", ["statu", "sweeep", ""])
def test_an_unknown_command_is_wrong_usage(run: Run, name: str) -> None:
    refused(run(name), repr(name), code=2)


@pytest.mark.parametrize(
    ("name", "suggestion"),
    [
        ("evalute", "did you mean evaluate?"),
        ("statu", "did you mean status?"),
        ("xyz", "there is layers, plan, extract, "),
    ],
)
def test_an_unknown_command_is_answered_with_the_nearest_or_all(
    run: Run, name: str, suggestion: str
) -> None:
    refused(run(name), f"unknown command {name!r}: {suggestion}", code=2)


# What is imported

_HEAVY = {
    "torch",
    "torchvision",
    "h5py",
    "sklearn",
    "scipy",
    "numpy",
    "pandas",
    "PIL",
    "matplotlib",
}


def _imported(*arguments: object, cwd: Path) -> set[str]:
    """Which heavy packages commands import, one after the other, in a process of their own.

    A comma parts the commands.
    """
    code = (
        "import sys\n"
        "from itertools import groupby\n"
        "from bottleneck.cli import main\n"
        "for ends, words in groupby(sys.argv[1:], lambda word: word == ','):\n"
        "    if not ends:\n"
        "        main(list(words), standalone_mode=False)\n"
        "print(*sys.modules, file=sys.stderr)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    return set(done.stderr.splitlines()[-1].split()) & _HEAVY


def test_help_imports_nothing_heavy(tmp_path: Path) -> None:
    words = [word for name in COMMANDS for word in (name, "--help", ",")]
    assert _imported(*words, "--help", cwd=tmp_path) == set()


def test_status_and_verify_need_no_network_and_no_classifier(cache: Path) -> None:
    imported = _imported("status", cache, ",", "verify", cache, cwd=cache.parent)
    assert imported <= {"h5py", "numpy"}


def test_fit_and_sweep_import_what_reads_and_computes_and_nothing_else(cache: Path) -> None:
    search = ("--c", "1", "--cv", "2")
    fit = ("fit", cache, "--clf", "svm", "--layer", "layer2", *search)
    imported = _imported(*fit, ",", "sweep", cache, *search, cwd=cache.parent)
    assert imported == {"h5py", "numpy"}


def test_a_list_is_not_given_in_parts(run: Run) -> None:
    parts = ("--c", "0.1", "--c=1", "--c", "10")
    listed = "--c is given 3 times: give it once, with commas between its values"
    refused(run("fit", "absent", "--clf", "svm", *parts), listed, code=2)
    # Of a single value the last one counts, as in other programs.
    single = ("--clf", "svm", "--clf", "softmax", "--layer", "a", "--layer", "b", "--overwrite")
    refused(run("fit", "absent", *single, "--overwrite"), "absent")


# Defaults from bottleneck.toml


def _configure(tmp_path: Path, text: str) -> None:
    (tmp_path / "bottleneck.toml").write_text(text, encoding="utf-8")


def test_a_configured_folder_needs_only_the_layer_and_the_classifier(
    run: Run, photos: Path, tmp_path: Path
) -> None:
    _configure(
        tmp_path,
        f"""
        [extract]
        images = "photos"
        out = "my.cache"
        model = '{TINY[1]}'
        resize = 32
        crop = 32
        mean = [0.5, 0.5, 0.5]
        shard-size = 8
        [fit]
        cache = "my.cache"
        c = [0.1, 1]
        [status]
        cache = "my.cache"
        """,
    )
    assert run("extract", "--layer", "layer2").exit_code == 0
    assert run("fit", "--clf", "svm").exit_code == 0
    plan = json.loads((tmp_path / "my.cache" / "spec.json").read_text())
    assert plan["spec"]["preprocess"]["mean"] == [0.5, 0.5, 0.5]
    assert plan["layout"]["shard_size"] == 8
    assert (tmp_path / "head-svm-layer2.safetensors").is_file()
    assert run("status").stdout.startswith("cache my.cache: ")


def test_arguments_go_before_the_configuration(run: Run, cache: Path, tmp_path: Path) -> None:
    _configure(tmp_path, '[fit]\ncache = "absent"\nclf = "svm"\nlayer = "layer3"\nc = 5\ncv = 3\n')
    result = run("fit", cache, "--layer", "layer2", "--c", "0.5", "--json")
    fitted = json.loads(result.stdout)
    assert (fitted["clf"], fitted["layer"], fitted["c"]) == ("svm", "layer2", 0.5)
    assert fitted["cv"]["folds"] == 3


def test_a_commands_configuration_is_not_anothers(run: Run, cache: Path, tmp_path: Path) -> None:
    _configure(tmp_path, '[verify]\ncache = "absent"\n')
    assert run("status", cache).exit_code == 0
    refused(run("status"), "CACHE", code=2)


@pytest.mark.parametrize(
    "option",
    ["layer = ['layer3']", "batch-size = 4", "batch_size = 4", "strict = true"],
)
def test_the_configuration_names_options_as_the_command_line_does(
    run: Run, photos: Path, tmp_path: Path, option: str
) -> None:
    _configure(tmp_path, f"[extract]\n{option}\n")
    result = run("extract", photos, "-o", "new", *TINY)
    assert result.exit_code == 0, result.output


def test_a_flag_that_is_configured_holds(run: Run, cache: Path, tmp_path: Path) -> None:
    _configure(tmp_path, "[status]\njson = true\n")
    result = run("status", cache)
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["rows"] == 36


def test_one_half_of_a_switch_can_be_configured(run: Run, photos: Path, tmp_path: Path) -> None:
    _configure(tmp_path, "[extract]\nrelu = false\n")
    assert run("extract", photos, "-o", "new", *TINY).exit_code == 0
    assert json.loads((tmp_path / "new" / "spec.json").read_text())["spec"]["relu"] is False


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("[statuss]\ncache = 'x'", ["bottleneck.toml: ", "'statuss': did you mean status?"]),
        ("cache = 'x'", ["bottleneck.toml: unknown command 'cache'"]),
        ("status = 'x'", ["bottleneck.toml", "status", "[status]"]),
        (
            "[status]\ncahce = 'x'",
            ["bottleneck.toml: ", "of [status] 'cahce': did you mean cache?"],
        ),
        ("[extract]\nshard_sise = 3", ["of [extract] 'shard_sise': did you mean shard-size"]),
        ("[status]\nqqq = 3", ["of [status] 'qqq': there is cache, "]),
        ("[status]\ncache =\n", ["bottleneck.toml", "line 2"]),
        ("[status\n", ["bottleneck.toml", "line 1"]),
        ("[extract]\nshard-size = 'many'", ["many"]),
        ("[extract]\nmean = [[1], [2], [3]]", ["mean", "[1],[2],[3]"]),
        ("[extract]\nstrict = 5", ["--strict", "'5'"]),
        ("[extract]\nviews = 2.5", ["--views", "'2.5'"]),
        ("[extract]\nviews = true", ["--views", "'True'"]),
        ("[extract]\nmax-pixels = [8, 8]", ["--max-pixels", "'8,8'"]),
        ("[extract]\nstd = 1979-05-27", ["std"]),
        ("[extract]\ntask = 3", ["task", "3"]),
        ("[extract]\nbatch-size = 3\nbatch_size = 4", ["[extract] has batch_size twice"]),
        ("[fit]\nscaling = 'l2'\npreprocess = 'none'", ["[fit] has preprocess twice"]),
        ("\ufeff[status]\r\ncahce = 'x'", ["'cahce': did you mean cache?"]),
    ],
    ids=lambda value: value.replace("\n", " ") if isinstance(value, str) else "",
)
def test_a_configuration_that_cannot_be_meant_is_wrong_usage(
    run: Run, photos: Path, tmp_path: Path, text: str, parts: list[str]
) -> None:
    _configure(tmp_path, text)
    refused(run("extract", photos, "-o", "new", *TINY), *parts, code=2)
    assert not (tmp_path / "new").exists()


def test_a_configuration_that_is_not_utf8_is_wrong_usage(run: Run, tmp_path: Path) -> None:
    (tmp_path / "bottleneck.toml").write_bytes(b"[status]\ncache = '\xff'\n")
    refused(run("status", "x"), "bottleneck.toml", code=2)


def test_a_broken_configuration_does_not_hide_the_help(run: Run, tmp_path: Path) -> None:
    _configure(tmp_path, "[status")
    assert run("--help").exit_code == 0


# Code that bottleneck.toml names


@pytest.fixture
def evil(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file that nobody has trusted, and that leaves a mark when it is executed."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    file = tmp_path / "evil.py"
    file.write_text(
        "import pathlib\npathlib.Path('mark').touch()\n"
        f"exec(pathlib.Path({PLAIN.rpartition(':')[0]!r}).read_text())\n"
    )
    return file


_WITH_A_MODEL = {
    "layers": [],
    "plan": ["photos", "--layer", "layer2"],
    "extract": ["photos", "-o", "new", "--layer", "layer2"],
    "verify": ["cache", "--repair", "photos"],
    "evaluate": ["head", "photos"],
    "predict": ["head", "photos"],
    "report": ["cache", "head"],
    "export": ["head", "-o", "new.onnx"],
    "tune": ["photos", "-o", "new"],
}


@pytest.mark.parametrize("name", _WITH_A_MODEL)
@pytest.mark.usefixtures("evil", "cache")
def test_the_configuration_alone_cannot_have_code_executed(
    run: Run, tmp_path: Path, name: str
) -> None:
    _configure(tmp_path, f"[{name}]\nmodel = 'evil.py:plain'\n")
    option = "MODEL" if name == "layers" else "--model"
    result = run(name, *_WITH_A_MODEL[name])
    refused(result, "bottleneck.toml names", f"`{option} evil.py:plain`".strip("`"), code=2)
    assert not (tmp_path / "mark").exists()
    assert not (tmp_path / "new").exists()


def test_every_command_that_takes_a_model_is_among_these() -> None:
    takers = {name for name in COMMANDS if "model" in {p.name for p in _command(name).params}}
    assert takers == set(_WITH_A_MODEL)


@pytest.mark.usefixtures("evil")
def test_code_that_was_typed_once_may_be_configured_until_it_changes(
    run: Run, evil: Path, tmp_path: Path
) -> None:
    assert run("layers", "evil.py:plain").exit_code == 0
    _configure(tmp_path, "[layers]\nmodel = 'evil.py:plain'\n")
    assert run("layers").exit_code == 0
    evil.write_text(evil.read_text() + "# changed\n")
    refused(run("layers"), "bottleneck.toml names", code=2)


def test_a_model_by_name_may_be_configured(run: Run, tmp_path: Path) -> None:
    _configure(tmp_path, "[layers]\nmodel = 'squeezenet1_1'\n")
    assert run("layers").exit_code == 0


# Errors


def test_debug_shows_the_traceback_and_nothing_else_does(run: Run, tmp_path: Path) -> None:
    plain = run("status", "absent")
    debug = process("--debug", "status", "absent", cwd=tmp_path)
    assert (plain.exit_code, debug.returncode) == (1, 1)
    assert plain.stderr.count("\n") == 1
    assert plain.stderr.startswith("error: no cache at absent")
    assert debug.stderr.startswith("Traceback (most recent call last):")
    assert "CacheError: no cache at absent" in debug.stderr


def test_an_error_of_the_system_names_the_file_and_the_reason(
    run: Run, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device", "somewhere/00000.h5")

    monkeypatch.setattr("bottleneck.cache.store.open_cache", full)
    refused(run("status", cache), "somewhere/00000.h5", "No space left on device")
    assert isinstance(run("--debug", "status", cache).exception, OSError)


@pytest.mark.parametrize("name", ["two\nlines", "tab\there", "no\udcffutf8", "schön"])
def test_an_error_is_one_line_whatever_the_name_holds(run: Run, name: str) -> None:
    refused(run("status", name))


def test_an_interrupt_is_one_line_and_what_shells_expect(
    run: Run, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    before = contents(cache)
    monkeypatch.setattr("bottleneck.cache.store.open_cache", stop)
    refused(run("status", cache), "interrupted", code=130)
    assert contents(cache) == before


def test_a_reader_that_left_is_no_error(cache: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)  # `bottleneck status … | head -0`
    try:
        done = subprocess.run(
            program("status", cache),
            stdout=writer,
            stderr=subprocess.PIPE,
            timeout=120,
            check=False,
        )
    finally:
        os.close(writer)
    assert done.stderr == b""


# Where the program runs


def test_a_working_directory_that_was_removed_is_one_line(cache: Path, tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    start = "import os; os.rmdir(os.getcwd()); "
    name, option, code, *arguments = program("status", cache)
    done = subprocess.run(
        [name, option, start + code, *arguments],
        cwd=gone,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "error: the working directory was removed: change to another one\n"


def test_characters_that_an_encoding_lacks_are_escaped(cache: Path, tmp_path: Path) -> None:
    (tmp_path / "\u4e03.cache").symlink_to(cache)
    done = subprocess.run(
        program("status", "\u4e03.cache"),
        cwd=tmp_path,
        env=os.environ | {"PYTHONIOENCODING": "iso-8859-1"},
        capture_output=True,
        encoding="iso-8859-1",
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("cache \\u4e03.cache: ")


def test_an_encoding_of_file_names_other_than_utf8_is_reported(cache: Path) -> None:
    plain = {"LC_ALL": "POSIX", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    asked = [sys.executable, "-c", "import sys; print(sys.getfilesystemencoding())"]
    encoding = subprocess.run(
        asked, env=os.environ | plain, capture_output=True, text=True, check=False
    )
    if encoding.stdout.strip() == "utf-8":
        pytest.skip("this system's file names are always UTF-8")
    done = subprocess.run(
        program("status", cache),
        env=os.environ | plain,
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert done.returncode == 0
    (warning,) = done.stderr.splitlines()
    assert warning.startswith("warning: file names are taken for ")
    assert "PYTHONUTF8=1" in warning


# PyData's package of the same name


@pytest.fixture
def namesake(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """PyData's distribution seems to be installed beside us."""
    version = importlib.metadata.version

    def installed(name: str) -> str:
        return "1.6.0" if name.lower() == "bottleneck" else version(name)

    monkeypatch.setattr(importlib.metadata, "version", installed)
    yield


@pytest.mark.usefixtures("namesake")
def test_the_namesake_package_is_reported_once_with_the_remedy(run: Run, cache: Path) -> None:
    result = run("status", cache, "--json")
    assert result.exit_code == 0
    assert json.loads(result.stdout)["rows"] == 36
    warning = result.stderr.splitlines()
    assert len(warning) == 1
    assert warning[0].startswith("warning: ")
    assert "1.6.0" in warning[0]
    assert "pip uninstall bottleneck" in warning[0]
    assert "bottleneck-features" in warning[0]


def test_no_namesake_is_no_warning(run: Run, cache: Path) -> None:
    assert run("status", cache).stderr == ""


@pytest.mark.parametrize("words", [["--help"], ["--version"], ["fit", "--help"]])
def test_a_full_disk_is_one_line_wherever_the_help_goes(words: list[str]) -> None:
    with Path("/dev/full").open("wb") as full:
        command = [sys.executable, "-m", "bottleneck", *words]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert (done.returncode, done.stderr) == (1, "error: [Errno 28] No space left on device\n")
