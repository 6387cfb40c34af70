"""The documents are true: commands exist, links lead somewhere, figures are those of the code."""

import doctest
import json
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import click
import make_commands
import numpy as np
import pytest
from click.testing import CliRunner
from numpy.typing import NDArray
from PIL import Image

from benchmarks import sample_layers
from bottleneck.cli import main
from bottleneck.cli.main import COMMANDS
from bottleneck.data import resize_and_crop
from bottleneck.input_transform import InputTransform
from bottleneck.runtime.schedulers.slurm import PROGRAM

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text("utf-8")
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), ROOT / "data" / "README.md"])


def words(text: str) -> str:
    return " ".join(text.split())


def parameters(name: str) -> list[click.Parameter]:
    command = main.get_command(click.Context(main), name)  # type: ignore[attr-defined, unused-ignore]
    assert command is not None
    return [p for p in command.params if isinstance(p, click.Option)]


def test_the_readme_names_the_oldest_versions_that_are_allowed() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    python = project["requires-python"].removeprefix(">=")
    (torch,) = (
        one[len("torch>=") :] for one in project["dependencies"] if one.startswith("torch>=")
    )
    assert f"Python {python} and PyTorch {torch}, or later." in README


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_and_option_is_documented(name: str) -> None:
    page = words(make_commands.PAGE.read_text("utf-8").split(f"## bottleneck {name}\n")[1])
    page = page.split(" ## ", maxsplit=1)[0]
    for option in parameters(name):
        assert isinstance(option, click.Option)
        assert option.help
        assert words(option.help) in page, f"run `make docs`: {option.opts} of {name}"
        assert max(option.opts, key=len) in page


def test_the_readme_names_every_command() -> None:
    for name in COMMANDS:
        assert f"bottleneck {name}" in README


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text("utf-8"), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", text):
        if not target.startswith(("http:", "https:")):
            assert (page.parent / target).exists(), target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_in_the_pages_exist_with_their_options(page: Path) -> None:
    text = page.read_text("utf-8").replace("\\\n", " ")
    for line in re.findall(r"^ *\$? *(bottleneck [a-z].*)$", text, re.MULTILINE):
        # `bottleneck submit slurm … -- extract …` is two of them.
        for command in re.split(r" -- ", line.removeprefix("bottleneck ")):
            name, *rest = command.split()
            assert name in COMMANDS, line
            known = {option for p in parameters(name) for option in [*p.opts, *p.secondary_opts]}
            used = {word for word in rest if re.fullmatch(r"--?[a-z][a-z-]*", word)}
            assert used <= known | {"--help"}, line


def test_make_targets_in_the_readme_exist() -> None:
    makefile = (ROOT / "Makefile").read_text("utf-8")
    for target in re.findall(r"make ([a-z-]+)", README):
        assert f"\n{target}:" in makefile, target


def readmes_table() -> dict[str, list[str]]:
    """The cells of the README's table of layers, by the first one of their row."""
    return {
        row: cells
        for line in README.splitlines()
        if line.count("|") == 5 and "%" in line
        for row, *cells in [[cell.strip(" *") for cell in line.strip("|").split("|")]]
    }


def stated_accuracy(row: sample_layers.Row) -> dict[str, float]:
    """What the README's table says of a row of the code."""
    size, *cells = readmes_table()[row.codes]
    assert size == str(row.size)
    stated = zip(sample_layers.CLASSIFIERS, cells, strict=True)
    return {clf: float(cell.strip("%")) / 100 for clf, cell in stated if cell != "–"}


@pytest.mark.slow
def test_the_readmes_table_of_layers_is_what_the_sample_gives(tmp_path: Path) -> None:
    rows = sample_layers.linear_rows(tmp_path)
    tails = map(sample_layers.tail_name, sample_layers.BOUNDARIES)
    assert list(readmes_table()) == [*(row.codes for row in rows), *tails]
    for row in rows:
        # Rounding on another processor moves a few of the 846 images.
        assert stated_accuracy(row) == pytest.approx(row.accuracy, abs=0.012), row


@pytest.mark.parametrize(
    "boundaries",
    [pytest.param(names, marks=pytest.mark.slow) for names in (["layer3"], ["layer1", "layer2"])],
)
def test_the_readmes_tails_are_what_the_sample_gives(boundaries: list[str], tmp_path: Path) -> None:
    for row in sample_layers.tail_rows(boundaries, tmp_path):
        # Ten images choose rate and epochs: other ones where another processor rounds otherwise.
        assert stated_accuracy(row) == pytest.approx(row.accuracy, abs=0.05), row


def test_the_demo_prints_what_the_readme_shows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("data", "bottleneck.toml"):
        (tmp_path / name).symlink_to(ROOT / name)
    monkeypatch.chdir(tmp_path)
    (block,) = re.findall(r"^```\n(\$ bottleneck extract.*?)^```", README, re.DOTALL | re.MULTILINE)
    for step in block.split("$ bottleneck ")[1:]:
        command, *shown = step.splitlines()
        arguments = shlex.split(command)
        if arguments[0] == "extract":
            arguments += ["--precision", "float32"]  # others round, where a processor has them
        done = CliRunner().invoke(main, arguments)
        assert done.exit_code == 0, done.output
        printed = iter(done.stdout.splitlines())
        for line in shown:
            if line.strip("…") and not line.startswith(OF_TIME):
                assert any(is_alike(line, other) for other in printed), line  # in this order


OF_TIME = ("encoded", "time:", "the network is the limit", "saved")
NUMBER = re.compile(r"\d+(?:\.\d+)?")


def is_alike(line: str, other: str) -> bool:
    """Whether two lines differ by no more than the rounding of another processor makes them."""
    if NUMBER.sub("", line).split() != NUMBER.sub("", other).split():
        return False
    pairs = zip(*(map(float, NUMBER.findall(each)) for each in (line, other)), strict=True)
    return all(a == pytest.approx(b, rel=0.03, abs=0.02 if b < 1 else 2) for a, b in pairs)


def test_the_configuration_of_the_sample_changes_no_other_networks_codes() -> None:
    config = tomllib.loads((ROOT / "bottleneck.toml").read_text("utf-8"))
    assert set(config["extract"]) == {"images", "out", "weights"}


@pytest.mark.parametrize(
    "name", ["python.md", "sources.md", pytest.param("digits.md", marks=pytest.mark.slow)]
)
def test_the_examples_of_a_page_run(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "data").symlink_to(ROOT / "data")
    monkeypatch.chdir(tmp_path)
    text = re.sub(r"```(python)?\n", "\n", (ROOT / "docs" / name).read_text("utf-8"))
    text = text.replace("jobs=2", "jobs=1")  # a second process imports everything once more
    examples = doctest.DocTestParser().get_doctest(text, {}, name, name, 0)
    assert len(examples.examples) > 10
    printed: list[str] = []
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    runner.run(examples, out=printed.append)
    assert runner.failures == 0, "".join(printed)


# On a cluster

CLUSTER = (ROOT / "docs" / "cluster.md").read_text("utf-8")


@pytest.mark.parametrize("size", [(301, 217), (150, 201), (97, 97)])
def test_the_program_for_onnxruntime_alone_prepares_images_as_this_one_does(
    size: tuple[int, int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = (ROOT / "docs" / "export.md").read_text("utf-8")
    blocks = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    (program,) = (block for block in blocks if "ImageOps" in block)
    transform = InputTransform(resize=41, crop=32)
    data = {"labels": ["ant"], "spec": {"preprocess": vars(transform)}}
    given: list[NDArray[np.uint8]] = []

    class Session:
        def __init__(self, file: str) -> None:
            self.custom_metadata_map = {"bottleneck": json.dumps(data)}

        def get_modelmeta(self) -> "Session":
            return self

        def run(self, names: None, inputs: dict[str, Any]) -> tuple[Any, Any]:
            given.append(inputs["images"])
            return np.ones((1, 1)), np.array([0])

    monkeypatch.setitem(sys.modules, "onnxruntime", SimpleNamespace(InferenceSession=Session))
    monkeypatch.chdir(tmp_path)
    noise = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    Image.fromarray(noise).save("new.jpg", "PNG")
    exec(program, {})
    difference = given[0][0] - resize_and_crop(noise, transform).astype(int)
    assert np.abs(difference).max() <= 1


def test_the_script_for_slurm_is_what_is_printed() -> None:
    (command,) = re.findall(
        r"^    bottleneck (submit .*) > extract\.sh$", CLUSTER.replace("\\\n", ""), re.M
    )
    printed = CliRunner().invoke(main, command.split())
    assert printed.exit_code == 0, printed.output
    expected = printed.stdout.replace(PROGRAM[0], "/opt/venv/bin/python")
    assert f"```bash\n{expected}```" in CLUSTER


def test_scripts_on_the_page_are_scripts() -> None:
    scripts = re.findall(r"```bash\n(.*?)```", CLUSTER, re.DOTALL)
    assert len(scripts) > 4
    for script in scripts:
        subprocess.run(["bash", "-n"], input=script, text=True, check=True)


def test_every_command_for_a_cluster_can_be_parsed() -> None:
    text = CLUSTER.replace("\\\n", " ")
    commands = re.findall(r"bottleneck ((?:extract|fit|status) [a-z][^`\"&\n;>]*)", text)
    assert len(commands) > 8
    for command in commands:
        name, *rest = [word for word in command.split() if not word.startswith("…")]
        rest = [re.sub(r"^auto/.*|^\$i/4$", "0/1", word) for word in rest]
        _parse(name, rest)


def test_the_jobs_for_kubernetes_are_of_one_piece() -> None:
    yaml = pytest.importorskip("yaml")
    (text,) = re.findall(r"```yaml\n(.*?)```", CLUSTER, re.DOTALL)
    extract, fit = yaml.safe_load_all(text)
    command = extract["spec"]["template"]["spec"]["containers"][0]["command"]
    assert command[:2] == ["bottleneck", "extract"]
    assert command[-2:] == ["--task", f"auto/{extract['spec']['completions']}"]
    made = _parse("extract", [*command[2:-1], "0/1"])
    used = _parse("fit", fit["spec"]["template"]["spec"]["containers"][0]["command"][2:])
    assert (used["cache"], used["layers"]) == (made["out"], made["layers"])
    for job in (extract, fit):  # every volume that is mounted is there
        pod = job["spec"]["template"]["spec"]
        names = {volume["name"] for volume in pod["volumes"]}
        for container in [*pod["containers"], *pod.get("initContainers", [])]:
            assert {mount["name"] for mount in container["volumeMounts"]} == names


def _parse(name: str, words: list[str]) -> dict[str, Any]:
    command = main.get_command(click.Context(main), name)  # type: ignore[attr-defined, unused-ignore]
    assert command is not None
    parent = click.Context(main, **main.context_settings)  # a command keeps its first help option
    with command.make_context(name, words, parent=parent) as ctx:
        return dict(ctx.params)
