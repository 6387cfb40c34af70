"""`bottleneck layers`."""

import json
from pathlib import Path

import pytest
import torch
from torch import nn

from tests.helpers.cli import refused
from tests.helpers.fixture_types import Run
from tests.helpers.networks import NETWORKS, PLAIN


def _by_name(text: str) -> dict[str, dict[str, object]]:
    return {row["layer"]: row for row in json.loads(text)}


def test_json_has_a_row_a_layer_with_its_shape_its_code_and_its_bytes(run: Run) -> None:
    rows = _by_name(run("layers", PLAIN, "--crop", 32, "--json").stdout)
    assert list(rows)[-1] == "fc"
    layer2 = rows["layer2"]
    assert layer2.keys() >= {"layer", "shape", "code_shape", "size", "bytes", "work"}
    assert (layer2["shape"], layer2["code_shape"]) == ([8, 8, 8], [8])
    assert (layer2["size"], layer2["bytes"]) == (8, 16)


def test_work_is_the_share_of_multiply_adds_up_to_the_layer(run: Run) -> None:
    rows = _by_name(run("layers", PLAIN, "--crop", 32, "--json").stdout)
    # kernel × channels in × channels out × positions, of the three convolutions and the last layer
    steps = [9 * 3 * 6 * 16**2, 9 * 6 * 8 * 8**2, 9 * 8 * 10 * 8**2, 10 * 4]
    for i, name in enumerate(["layer1", "layer2", "layer3", "fc"]):
        assert rows[name]["work"] == pytest.approx(sum(steps[: i + 1]) / sum(steps))


@pytest.mark.parametrize(
    ("options", "code_shape", "size", "count"),
    [
        (["--pool", "max"], [8], 8, 16),
        (["--pool", "2"], [8, 2, 2], 32, 64),
        (["--pool", "none"], [8, 8, 8], 512, 1024),
        (["--dtype", "float32"], [8], 8, 32),
    ],
)
def test_pool_and_dtype_decide_the_code_and_its_bytes(
    run: Run, options: list[str], code_shape: list[int], size: int, count: int
) -> None:
    rows = _by_name(run("layers", PLAIN, "--crop", 32, *options, "--json").stdout)
    layer2 = rows["layer2"]
    assert (layer2["code_shape"], layer2["size"], layer2["bytes"]) == (code_shape, size, count)


def test_the_table_has_the_rows_of_the_json(run: Run) -> None:
    lines = run("layers", PLAIN, "--crop", 32).stdout.splitlines()
    rows = _by_name(run("layers", PLAIN, "--crop", 32, "--json").stdout)
    assert lines[0].split() == ["layer", "shape", "code", "bytes/image", "work", "cut"]
    assert [line.split()[0] for line in lines[1:-1]] == list(rows)
    assert [name for name, row in rows.items() if row["cut"]] == [
        line.split()[0] for line in lines if line.endswith("yes")
    ]
    assert lines[-2].split() == ["fc", "4", "4", "8", "B", "100.0%"]
    assert lines[-3].split()[-1] == "yes"
    assert lines[-1].startswith("cut: ")


def test_a_module_that_is_called_again_has_a_name_for_each_call(run: Run) -> None:
    rows = _by_name(run("layers", f"{NETWORKS}:reused", "--crop", 8, "--json").stdout)
    assert [name for name in rows if name.startswith("relu")] == ["relu", "relu_1", "relu_2"]


def test_torchvisions_models_are_listed_without_a_download(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def download(*_: object, **__: object) -> None:
        raise AssertionError("nothing shall be downloaded")

    monkeypatch.setattr(torch.hub, "download_url_to_file", download)
    rows = _by_name(run("layers", "squeezenet1_0", "--json").stdout)
    network = nn.Conv2d(3, 96, 7, 2)  # features.0 of the paper's network
    with torch.inference_mode():
        expected = list(network(torch.zeros(1, 3, 224, 224)).shape[1:])
    assert rows["features.0"]["shape"] == expected
    assert rows["classifier.3"]["code_shape"] == [1000]


@pytest.mark.parametrize(
    ("arguments", "parts", "code"),
    [
        (["squeezenet"], ["'squeezenet'", "squeezenet1_0"], 2),
        (["squeezenet1_0", "--weights", "IMAGENET1K_V9"], ["_V9'", "IMAGENET1K_V1"], 2),
        ([PLAIN, "--pool", "median"], ["--pool median", "avg, max, none"], 2),
        ([PLAIN, "--pool", "0"], ["--pool 0", "avg, max, none"], 2),
        ([PLAIN, "--pool", "-2"], ["--pool -2", "avg, max, none"], 2),
        ([PLAIN, "--crop", "0"], ["--crop", "0"], 2),
        ([PLAIN, "--dtype", "int8"], ["int8", "float16", "float32"], 2),
        (["squeezenet1_0", "--crop", "1"], ["3 × 1 × 1", "--crop"], 1),
        (["absent.py:build"], ["absent.py"], 1),
        ([f"{NETWORKS}:plaln"], ["'plaln'", "plain"], 2),
        ([f"{NETWORKS}:not_a_network"], ["not_a_network", "torch.nn.Module", "str"], 1),
        ([], ["MODEL"], 2),
    ],
)
def test_wrong_arguments_are_refused(
    run: Run, arguments: list[str], parts: list[str], code: int
) -> None:
    refused(run("layers", *arguments), *parts, code=code)


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("def (", "invalid syntax"),
        ("import no_such_module", "no_such_module"),
        ("x = misspelt", "misspelt"),
        ("def build(size): return size", "size"),
        ("def build(): raise RuntimeError('two\\nlines')", "two lines"),
        (
            "import torch\n"
            "class build(torch.nn.Identity):\n"
            "    def forward(self, x): return x.nothing",
            "nothing",
        ),
    ],
    ids=["syntax", "import", "name", "arguments", "raises", "forward"],
)
def test_a_network_file_that_fails_is_one_line_that_says_why(
    run: Run, tmp_path: Path, text: str, part: str
) -> None:
    (tmp_path / "mine.py").write_text(text + "\n")
    refused(run("layers", "mine.py:build"), part)
