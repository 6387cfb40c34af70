"""`bottleneck sweep`."""

import csv
import json
import shlex
import shutil
from collections.abc import Callable
from itertools import chain, repeat
from pathlib import Path
from typing import Any, NoReturn
from xml.etree import ElementTree

import click
import pytest
from click.testing import Result

from bottleneck.backbones.layers.listing import list_layers
from bottleneck.cli import main
from bottleneck.cli.progress import shown_progress
from bottleneck.runtime import Progress
from tests.helpers import cli
from tests.helpers.cli import contents, refused
from tests.helpers.fixture_types import Run
from tests.helpers.photographs import write_photographs
from tests.helpers.shards import set_work
from tests.helpers.tiny_networks import plain

made, photos, cache = cli.made, cli.photos, cli.cache

QUICK = ("--c", "0.01", "--cv", "2")


def _no_nan(text: str) -> NoReturn:
    raise AssertionError(f"{text} is no JSON")


def _sweep(run: Run, *arguments: object) -> list[dict[str, Any]]:
    result = run("sweep", *arguments, "--json")
    assert result.exit_code == 0, result.output
    rows: list[dict[str, Any]] = json.loads(result.stdout, parse_constant=_no_nan)
    return rows


# What it finds


def test_json_is_a_list_of_what_fit_says_with_size_and_work(run: Run, cache: Path) -> None:
    rows = _sweep(run, cache, *QUICK)
    shares = {layer.name: layer.cost for layer in list_layers(plain(), 32)}
    assert [(row["layer"], row["clf"]) for row in rows] == [
        *(("layer2", "svm"), ("layer2", "softmax")),
        *(("layer3", "svm"), ("layer3", "softmax")),
        *(("all layers", "svm"), ("all layers", "softmax")),
    ]
    for row in rows:
        layers = [word for layer in row["layers"] for word in ("--layer", layer)]
        fit = run("fit", cache, "--clf", row["clf"], *layers, *QUICK, "--json")
        alone = json.loads(fit.stdout)
        assert alone.pop("head")
        assert alone["heldout"].pop("confusion")  # of many classes most of a row
        size = {"layer2": 8, "layer3": 10, "all layers": 18}[row["layer"]]
        own = {"layer": row["layer"], "size": size, "work": shares[row["layers"][-1]]}
        recommended = row.pop("recommended")
        assert type(recommended) is bool
        assert row | {"seconds": 0} == alone | own | {"seconds": 0}
        assert row["seconds"] > 0


def test_exactly_one_row_is_recommended(run: Run, cache: Path) -> None:
    assert [row["recommended"] for row in _sweep(run, cache, *QUICK)].count(True) == 1


def test_the_images_and_the_network_are_not_needed(run: Run, cache: Path, photos: Path) -> None:
    shutil.rmtree(photos)
    assert len(_sweep(run, cache, *QUICK)) == 6


# What it prints


def _cells(result: Result) -> list[list[str]]:
    table = result.stdout.split("\n\n")[0]
    return [line.replace("all layers", "all_layers").split() for line in table.splitlines()]


def test_the_table_has_every_row_and_an_asterisk_at_the_chosen_one(run: Run, cache: Path) -> None:
    rows = _sweep(run, cache, *QUICK)
    result = run("sweep", cache, *QUICK)
    head, *lines = _cells(result)
    assert " ".join(head) == "layer network code clf CV accuracy ± std val accuracy seconds"
    for line, row in zip(lines, rows, strict=True):
        assert line[:7] == [
            row["layer"].replace(" ", "_"),
            f"{row['work']:.1%}",
            str(row["size"]),
            row["clf"],
            f"{row['cv']['mean']:.1%}",
            f"{row['cv']['std']:.1%}",
            f"{row['heldout']['accuracy']:.1%}",
        ]
        assert (line[-1] == "*") == row["recommended"]
    assert result.stderr == ""


def test_a_sentence_ends_in_the_command_that_trains_it(run: Run, cache: Path) -> None:
    shutil.copytree(cache, "a cache")
    given = ("--cv", "2", "--c", "0.01,0.1", "--preprocess", "l2", "--class-weight", "balanced")
    result = run("sweep", "a cache", *given)
    table, sentence = result.stdout.removesuffix("\n").split("\n\n")
    assert "\n" not in sentence
    assert "within one standard error" in sentence
    words = shlex.split(sentence.split("`")[1])
    assert words[:3] == ["bottleneck", "fit", "a cache"]
    done = json.loads(run(*words[1:], "--json").stdout)
    (chosen,) = (line.split() for line in table.splitlines() if line.endswith("*"))
    assert [done["layer"], done["clf"]] == [chosen[0], chosen[3]]  # one layer is the cheapest
    assert done["cv"]["folds"] == 2
    assert done["preprocess"] == "l2"
    assert chosen[4] == f"{done['cv']['mean']:.1%}"
    options = words[words.index("--layer") + 2 :]
    expected = ["--cv", "2", "--c", "0.01,0.1", "--scaling", "l2", "--class-weight", "balanced"]
    assert options == expected


def test_options_of_the_configuration_are_in_the_command_too(run: Run, cache: Path) -> None:
    lines = ["[sweep]", 'cache = "cache"', "c = [1.0]", "cv = 2", 'clf = "svm"', 'layer = "layer3"']
    Path("bottleneck.toml").write_text("\n".join([*lines, 'memory = "1G"']))
    command = run("sweep").stdout.split("`")[1]
    assert (
        command
        == "bottleneck fit cache --clf svm --layer layer3 --cv 2 --c 1.0 --memory 1073741824"
    )
    assert run(*command.split()[1:], "-o", "head").exit_code == 0


def test_options_of_fit_in_the_configuration_are_overridden_in_the_command(
    run: Run, cache: Path
) -> None:
    Path("bottleneck.toml").write_text('[fit]\nscaling = "sqrt"\nmemory = "1G"')
    command = run("sweep", "cache", *QUICK, "--layer", "layer3", "--clf", "svm").stdout.split("`")[
        1
    ]
    done = json.loads(run(*command.split()[1:], "--json").stdout)
    assert done["preprocess"] == "standardize"  # as the sweep judged it


def test_a_cache_that_does_not_say_what_layers_need(run: Run, cache: Path) -> None:
    set_work(cache, None)
    options = (*QUICK, "--clf", "svm")
    assert {row["work"] for row in _sweep(run, cache, *options)} == {None}
    result = run("sweep", cache, *options, "--plot", "a.svg")
    assert result.exit_code == 0
    assert [line[1] for line in _cells(result)[1:]] == ["-"] * 3
    assert "does not say how much of the network" in result.stdout


def test_without_splits_there_is_no_column_for_held_out_rows(
    run: Run, tmp_path: Path, extract_tiny: Callable[..., Any]
) -> None:
    for label in ("ants", "bees"):
        write_photographs(tmp_path / "all" / label, 6, label=label)
    extract_tiny(tmp_path / "all")
    assert [row["heldout"] for row in _sweep(run, "cache", *QUICK)] == [None, None]
    result = run("sweep", "cache", *QUICK)
    assert "the best of 2 rows looks better than it is; nested cross-validation (--nested)" in (
        result.stdout
    )
    head = _cells(result)[0]
    assert " ".join(head) == "layer network code clf CV accuracy ± std seconds"


def test_layers_and_classifiers_can_be_chosen(run: Run, cache: Path) -> None:
    rows = _sweep(run, cache, "--layer", "layer3", "--clf", "softmax", *QUICK)
    assert [(row["layer"], row["clf"]) for row in rows] == [("layer3", "softmax")]


def test_views_have_a_row_of_their_own_unless_a_number_is_given(
    run: Run, photos: Path, extract_tiny: Callable[..., Any]
) -> None:
    cost = {layer.name: layer.cost for layer in list_layers(plain(), 32)}["layer3"]
    assert cost is not None
    extract_tiny(photos, layers=["layer2", "layer3"], count=2)
    rows = _sweep(run, "cache", "--clf", "svm", *QUICK)
    assert [row["layer"] for row in rows] == [
        *("layer2", "layer3", "all layers", "all layers, 2 views")
    ]
    assert [row["views"] for row in rows] == [1, 1, 1, 2]
    assert rows[-1]["work"] == pytest.approx(2 * cost)
    for option, names in [
        ("1", ["layer2", "layer3", "all layers"]),
        ("all", ["layer2, 2 views", "layer3, 2 views", "all layers, 2 views"]),
    ]:
        rows = _sweep(run, "cache", "--clf", "svm", *QUICK, "--views", option)
        assert [row["layer"] for row in rows] == names
    result = run("sweep", "cache", "--clf", "svm", *QUICK, "--plot", "views.svg")
    command = shlex.split(result.stdout.split("`")[1])
    assert "--views" in command
    assert run(*command[1:]).exit_code == 0
    refused(run("sweep", "cache", "--views", "none"), "'none' must be a number of views", code=2)
    refused(run("fit", "cache", "--clf", "svm", "--layer", "all", "--views", "3"), "--views 3")


def test_nested_says_what_the_choice_cost(run: Run, cache: Path) -> None:
    result = run("sweep", cache, *QUICK, "--nested", "--clf", "svm")
    assert "choosing among 3 rows cost" in result.stdout
    assert "the held-out split val took no part in any choice" in result.stdout
    assert "--nested" not in result.stdout.split("`")[1]  # the command trains once
    rows = _sweep(run, cache, *QUICK, "--nested", "--clf", "svm")
    (choice,) = (row["choice"] for row in rows if "choice" in row)
    assert choice["metric"] == "accuracy"
    assert all(len(row["nested"]["scores"]) == len(choice["scores"]) == 2 for row in rows)
    fit = run("fit", cache, "--clf", "svm", "--layer", "layer2", *QUICK, "--nested", "--json")
    assert json.loads(fit.stdout)["nested"] == rows[0]["nested"]


# Files


def test_a_plot_and_a_table_are_written_too(run: Run, cache: Path) -> None:
    before = contents(cache)
    options = (*QUICK, "--plot", "down/layers.svg", "-o", "down/layers.csv", "--json")
    result = run("sweep", cache, *options)
    rows = json.loads(result.stdout)
    written = ["wrote down/layers.svg", "wrote down/layers.csv"]
    assert result.stderr.splitlines()[-2:] == written
    assert ElementTree.parse("down/layers.svg").getroot().tag.endswith("svg")
    with Path("down/layers.csv").open(newline="") as file:
        table = list(csv.DictReader(file))
    for line, row in zip(table, rows, strict=True):
        assert (line["layer"], line["clf"], line["size"]) == (
            row["layer"],
            row["clf"],
            str(row["size"]),
        )
        assert float(line["work"]) == row["work"]
        assert float(line["c"]) == row["c"]
        assert float(line["mean"]) == row["cv"]["mean"]
        assert float(line["std"]) == row["cv"]["std"]
        assert float(line["heldout"]) == row["heldout"]["accuracy"]
        assert line["recommended"] == str(row["recommended"])
    assert contents(cache) == before


@pytest.mark.parametrize(("option", "name"), [("--plot", "taken.svg"), ("-o", "taken.csv")])
def test_a_file_in_the_way_is_refused_before_the_work(
    run: Run, cache: Path, option: str, name: str
) -> None:
    Path(name).write_text("mine")
    shutil.move(cache, "elsewhere")  # whatever came after the check would fail on that
    refused(run("sweep", "cache", option, name), f"{name} exists", f"with {option}", "--overwrite")
    assert Path(name).read_text() == "mine"
    assert run("sweep", "elsewhere", *QUICK, option, name, "--overwrite").exit_code == 0
    assert Path(name).read_bytes() != b"mine"


def test_the_plot_and_the_table_are_two_files(run: Run) -> None:
    result = run("sweep", "absent", "--plot", "one.svg", "-o", "one.svg")
    refused(result, "-o one.svg", "another file than that of --plot", code=2)


def test_a_plot_of_another_kind_is_refused_before_the_work(run: Run) -> None:
    refused(run("sweep", "absent", "--plot", "a.jpg"), "--plot a.jpg", ".svg, .png, .pdf", code=2)


# Refusals


@pytest.mark.parametrize(
    ("options", "parts"),
    [
        (["--cv", "0"], ["--cv", "0 is not", ">=2"]),
        (["--cv", "1", "--c", "1"], ["--cv", "1 is not", ">=2"]),
        (["--clf", "smv"], ["'smv'", "svm"]),
        (["--layer", "layr3"], ["'layr3'", "layer3"]),
        (["--c", "0"], ["--c 0", "above 0"]),
        (["--metric", "auc"], ["'auc'", "macro_f1"]),
    ],
)
def test_a_wrong_option_is_refused(
    run: Run, cache: Path, options: list[str], parts: list[str]
) -> None:
    refused(run("sweep", "cache", *options, "--plot", "a.svg"), *parts, code=2)
    assert not Path("a.svg").exists()


def test_no_cache_is_refused_with_the_command_that_makes_one(run: Run) -> None:
    refused(run("sweep", "absent"), "no cache at absent", "bottleneck extract")


# Help and progress


def test_help_has_an_example_with_a_plot(run: Run) -> None:
    example = run("sweep", "--help").stdout.split("Example:\n")[1]
    assert "bottleneck sweep photos.cache --plot layers.svg" in example


def test_the_command_of_the_sentence_knows_every_option_that_fit_shares() -> None:
    commands = {name: main.get_command(click.Context(main), name) for name in ("sweep", "fit")}  # type: ignore[attr-defined, unused-ignore]
    names = {
        name: {parameter.opts[0] for parameter in command.params if command}
        for name, command in commands.items()
        if command
    }
    assert names["sweep"] - names["fit"] == {"--jobs"}
    assert names["fit"] - names["sweep"] == {"--save-cv"}


def test_slow_progress_is_not_rounded_to_zero(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = chain([0.0], repeat(25.0))
    monkeypatch.setattr("bottleneck.cli.progress.time.monotonic", lambda: next(now))
    with shown_progress() as show:
        show(Progress(1, 4, "classifiers"))
    line = "1 of 4 classifiers, 0.04/s now, 0.04/s on average, 75 s left\n"
    assert capsys.readouterr().err == line
