"""`bottleneck fit`."""

import csv
import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors import safe_open
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.svm import LinearSVC

from bottleneck.cache.store import Cache
from bottleneck.cli.types import Size
from bottleneck.runtime.schedulers.array_task import ArrayTask
from tests.helpers import cli
from tests.helpers.cli import contents, refused, stored, tiny_cache
from tests.helpers.datasets import SCALERS, clouds, written_cache
from tests.helpers.fixture_types import Extract, Run
from tests.helpers.photographs import write_photographs

made, photos, cache = cli.made, cli.photos, cli.cache


@pytest.fixture(scope="module")
def hard(made: Path) -> Path:
    """A cache whose labels only half follow from the images: 40 to learn from, 20 to test."""
    folder = made / "hard"
    images = write_photographs(folder, 60, label="ants")
    rng = np.random.default_rng(0)
    lines = ["path,label,split"]
    for i, image in enumerate(images):
        label = "ab"[rng.integers(2)] if i % 2 else "bc"[rng.integers(2)]
        lines.append(f"{image.name},{label},{'test' if i % 3 == 2 else 'train'}")
    (folder / "list.csv").write_text("\n".join(lines) + "\n")
    return tiny_cache(folder / "list.csv", made / "hard.cache", "layer2")


def _data(cache: Path, split: str) -> tuple[NDArray[np.float64], NDArray[np.str_]]:
    """Codes and labels of a split, by h5py and csv alone."""
    with (cache / "images.csv").open(newline="") as lines:
        rows = list(csv.DictReader(lines))
    chosen = [row["split"] == split for row in rows]
    labels = np.array([row["label"] for row in rows])
    return stored(cache)[chosen].astype(np.float64), labels[chosen]


MODELS = {"svm": LinearSVC, "softmax": LogisticRegression}
OPTIONS = {"svm": {"random_state": 0}, "softmax": {}}
PREPARE = {name: make() for name, make in SCALERS.items()}


def _sklearn(clf: str, c: float, preprocess: str = "standardize", **options: Any) -> Any:
    model = MODELS[clf](C=c, max_iter=10_000, **OPTIONS[clf], **options)
    return make_pipeline(PREPARE[preprocess], model)


def _fit(run: Run, cache: Path, *options: object) -> dict[str, Any]:
    result = run("fit", cache, *options, "--json")
    assert result.exit_code == 0, result.output
    found: dict[str, Any] = json.loads(result.stdout)
    return found


# What it finds


def test_several_layers_make_one_head(run: Run, cache: Path) -> None:
    options = ("--clf", "svm", "--c", "0.1", "--cv", "2", "--scaling", "sqrt")
    found = _fit(run, cache, *options, "--layer", "all")
    assert (found["layers"], found["layer"]) == (["layer2", "layer3"], "layer2 + layer3")
    assert (found["preprocess"], found["views"]) == ("sqrt", 1)
    assert sum(found["shares"].values()) == pytest.approx(1)
    assert found["head"] == "head-svm-layer2+layer3.safetensors"
    text = run("fit", cache, *options, "--layer", "layer3", "--layer", "layer2").stdout
    assert "svm on layer3 + layer2: " in text
    assert "share of each layer  layer3 " in text
    assert "saved head-svm-layer3+layer2.safetensors" in text
    judged = run("evaluate", found["head"], cache, "--json")
    assert json.loads(judged.stdout)["heldout"] == found["heldout"]


def test_the_hint_about_copies_is_a_command(run: Run, photos: Path, extract_tiny: Extract) -> None:
    shutil.copy(photos / "train/ants/ants000.jpg", photos / "val/ants/copy.jpg")
    cache = extract_tiny(photos).cache.path
    text = run("fit", cache, "--clf", "svm", "--c", "0.1", "--cv", "0").stdout
    assert "the accuracy is too high (`bottleneck audit` gives it without them)" in text


def test_json_has_what_is_promised(run: Run, hard: Path) -> None:
    found = _fit(run, hard, "--clf", "svm", "--c", "0.01,1", "--cv", "4")
    assert found.keys() >= {"clf", "layer", "c", "cv", "heldout", "head", "seconds"}
    assert (found["clf"], found["layer"]) == ("svm", "layer2")
    assert found["c"] in (0.01, 1)
    assert found["cv"].keys() >= {"mean", "std", "folds"}
    assert found["cv"]["folds"] == 4
    assert found["heldout"].keys() >= {"split", "n", "accuracy", "ci95", "mean_per_class"}
    assert (found["heldout"]["split"], found["heldout"]["n"]) == ("test", 20)
    low, high = found["heldout"]["ci95"]
    assert 0 <= low < found["heldout"]["accuracy"] < high <= 1
    assert 0 <= found["heldout"]["ece"] <= 1
    assert 0 <= found["ece"] <= 1
    assert found["head"] == "head-svm-layer2.safetensors"
    assert found["seconds"] > 0


@pytest.mark.parametrize("clf", ["svm", "softmax"])
@pytest.mark.parametrize("preprocess", ["standardize", "l2", "none"])
def test_the_held_out_accuracy_is_that_of_scikit_learn(
    run: Run, hard: Path, clf: str, preprocess: str
) -> None:
    found = _fit(run, hard, "--clf", clf, "--c", "0.1", "--cv", "0", "--preprocess", preprocess)
    codes, labels = _data(hard, "test")
    predicted = _sklearn(clf, 0.1, preprocess).fit(*_data(hard, "train")).predict(codes)
    assert found["cv"] is None
    assert found["heldout"]["accuracy"] == np.mean(predicted == labels)
    recalls = [np.mean(predicted[labels == name] == name) for name in "abc"]
    assert found["heldout"]["mean_per_class"] == pytest.approx(np.mean(recalls))


@pytest.mark.parametrize("clf", ["svm", "softmax"])
def test_classes_can_count_the_same(run: Run, hard: Path, clf: str) -> None:
    _fit(run, hard, "--clf", clf, "--c", "0.1", "--cv", "0", "--class-weight", "balanced")
    expected = _sklearn(clf, 0.1, class_weight="balanced").fit(*_data(hard, "train"))[-1]
    with safe_open(f"head-{clf}-layer2.safetensors", framework="numpy") as head:
        np.testing.assert_allclose(head.get_tensor("coef"), expected.coef_, atol=0.02)


def test_c_is_the_best_of_the_cross_validation_on_the_training_split(run: Run, hard: Path) -> None:
    grid = [1e-4, 1e-2, 1.0]
    found = _fit(run, hard, "--clf", "svm", "--c", ",".join(map(str, grid)), "--cv", "5")
    folds = StratifiedKFold(5, shuffle=True, random_state=0)
    means = [
        cross_val_score(_sklearn("svm", c), *_data(hard, "train"), cv=folds).mean() for c in grid
    ]
    assert found["c"] == grid[int(np.argmax(means))]
    assert found["cv"]["mean"] == pytest.approx(max(means))


def test_a_search_begins_at_a_millionth_and_says_why_it_ends(run: Run, cache: Path) -> None:
    options = ("--clf", "svm", "--layer", "layer2", "--cv", "2")
    header, *rows, last = run("fit", cache, *options).stdout.split("\n\n")[0].splitlines()
    assert header.startswith("C ")
    assert min(float(row.split()[0]) for row in rows) <= 1e-6
    assert last == "C above 0.01 was left out: no score is higher"  # all are right


def test_text_says_the_search_the_judgement_and_where_the_head_is(run: Run, hard: Path) -> None:
    options = ("--clf", "svm", "--c", "0.01,1", "--cv", "2")
    text = run("fit", hard, *options).stdout
    found = _fit(run, hard, *options, "--overwrite")
    assert f"C = {found['c']:g}" in text
    share = f"{found['cv']['mean']:.1%} ± {found['cv']['std']:.1%}"
    assert f"cross-validation  accuracy {share} in 2 folds" in text
    assert f"calibration error {found['ece']:.1%}" in text
    assert f"held-out test  {found['heldout']['accuracy']:.1%} of 20" in text
    assert "at the edge of the grid" in text  # both of two values are
    assert "saved head-svm-layer2.safetensors" in text


def test_without_splits_the_cross_validation_speaks(
    run: Run, photos: Path, extract_tiny: Extract
) -> None:
    cache = extract_tiny(photos / "train").cache.path
    found = _fit(run, cache, "--clf", "softmax", "--c", "1")
    assert found["heldout"] is None
    assert found["cv"]["folds"] == 5
    assert "no held-out split" in run("fit", cache, "--clf", "svm", "--c", "1").stdout


def test_the_images_and_the_network_are_not_needed(run: Run, cache: Path, photos: Path) -> None:
    shutil.rmtree(photos)
    _fit(run, cache, "--clf", "svm", "--layer", "layer3", "--c", "1")


def test_the_only_layer_needs_no_name(run: Run, hard: Path) -> None:
    assert _fit(run, hard, "--clf", "svm", "--c", "1", "--cv", "0")["layer"] == "layer2"


# Options of the training


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--preprocess", "auto", "--c", "0.1"], {"c": 0.1}),
        (["--metric", "balanced", "--c", "0.1"], {"cv.metric": "balanced"}),
        (["--metric", "macro_f1", "--c", "0.1"], {"cv.metric": "macro_f1"}),
        (["--device", "cpu", "--c", "0.1"], {"converged": True}),
        (["--cv", "3", "--c", "0.1"], {"cv.folds": 3}),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_every_option_reaches_the_training(
    run: Run, hard: Path, options: list[str], expected: dict[str, Any]
) -> None:
    found = _fit(run, hard, "--clf", "svm", *options)
    for name, value in expected.items():
        part: Any = found
        for key in name.split("."):
            part = part[key]
        assert part == value


@pytest.mark.parametrize("option", [["--memory", "1K"], ["--device", "cpu"]])
def test_every_way_to_the_minimum_ends_there(
    run: Run, hard: Path, option: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    _fit(run, hard, "--clf", "svm", "--c", "0.1", "--cv", "0", "-o", "a")
    if "--memory" in option:
        monkeypatch.setattr(Cache, "read_codes", None)  # of all rows at once
    _fit(run, hard, "--clf", "svm", "--c", "0.1", "--cv", "0", "-o", "b", *option)
    codes, _ = _data(hard, "test")
    one, other = (cli.margins(Path(head), codes)[1] for head in "ab")
    np.testing.assert_allclose(one, other, atol=0.03)


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("1", 1),
        ("1000", 1000),
        ("4K", 4096),
        ("1.5M", 3 << 19),
        ("8G", 8 << 30),
        ("8gb", 8 << 30),
        ("8 GiB", 8 << 30),
        ("2T", 2 << 40),
    ],
)
def test_memory_is_given_as_people_write_it(text: str, size: int) -> None:
    assert Size().convert(text, None, None) == size


def test_preprocessing_can_be_left_to_the_folds(run: Run, hard: Path) -> None:
    means = {
        name: _fit(run, hard, "--clf", "svm", "--c", "0.1", "--preprocess", name, "--overwrite")[
            "cv"
        ]["mean"]
        for name in PREPARE
    }
    found = _fit(run, hard, "--clf", "svm", "--c", "0.1", "--preprocess", "auto", "--overwrite")
    assert found["cv"]["mean"] == max(means.values())
    assert means[found["preprocess"]] == max(means.values())
    text = run(
        "fit", hard, "--clf", "svm", "--c", "0.1", "--preprocess", "auto", "--overwrite"
    ).stdout
    assert [line.split()[0] for line in text.splitlines()[:5]] == ["preprocess", *PREPARE]


def test_the_search_can_be_kept(run: Run, hard: Path) -> None:
    options = ("--clf", "svm", "--c", "0.01,1", "--cv", "2")
    found = _fit(run, hard, *options, "--save-cv", "deep/cv.json")
    saved = json.loads(Path("deep/cv.json").read_text())
    assert [row["c"] for row in saved["candidates"]] == [0.01, 1]
    assert all(len(row["scores"]) == saved["folds"] == 2 for row in saved["candidates"])
    assert (saved["best"]["c"], saved["best"]["mean"]) == (found["c"], found["cv"]["mean"])
    again = run("fit", hard, *options, "-o", "other", "--save-cv", "deep/cv.json")
    refused(again, "deep/cv.json exists", "--save-cv", "--overwrite")
    assert not Path("other").exists()
    other = ("--clf", "softmax", "--c", "3", "-o", "other", "--save-cv", "deep/cv.json")
    _fit(run, hard, *other, "--overwrite")
    assert json.loads(Path("deep/cv.json").read_text())["best"]["c"] == 3


@pytest.mark.parametrize(
    ("one", "other"), [("-o", "--save-cv"), ("-o", "--plot"), ("--save-cv", "--plot")]
)
def test_every_output_is_a_file_of_its_own(
    run: Run, hard: Path, tmp_path: Path, one: str, other: str
) -> None:
    options = ("--clf", "svm", "--c", "1", "--cv", "2", one, "one.svg", other, "./one.svg")
    refused(
        run("fit", hard, *options), f"{other} one.svg", f"another file than that of {one}", code=2
    )
    assert not (tmp_path / "one.svg").exists()


def test_a_plot_of_nothing_is_an_error_after_the_result(run: Run, tmp_path: Path) -> None:
    X, y = clouds()
    cache = written_cache(tmp_path / "clouds", X, ["abc"[i] for i in y])  # without splits
    options = ("--clf", "svm", "--c", "1", "--cv", "0", "-o", "head", "--plot", "fit.svg")
    result = run("fit", cache, *options)
    assert result.exit_code == 2
    assert "saved head" in result.stdout
    assert "--plot this fit: must be one with folds" in result.stderr


def test_files_beside_the_head_are_named_where_programs_do_not_read(run: Run, hard: Path) -> None:
    options = ("--clf", "svm", "--c", "1", "--save-cv", "cv.json", "--plot", "fit.svg", "--json")
    result = run("fit", hard, *options)
    assert result.stderr.splitlines()[-2:] == ["wrote cv.json", "wrote fit.svg"]
    assert json.loads(result.stdout)["head"] and Path("fit.svg").is_file()


def test_the_smallest_c_within_a_standard_error_can_be_chosen(run: Run, tmp_path: Path) -> None:
    X, y = clouds()
    cache = written_cache(tmp_path / "clouds", X, ["abc"[i] for i in y])
    options = ("--clf", "svm", "--preprocess", "l2", "--c", "0.01,0.1,1,10", "--overwrite")
    _fit(run, cache, *options, "--save-cv", "cv.json")
    saved = json.loads(Path("cv.json").read_text())
    best = saved["best"]["scores"]
    enough = np.mean(best) - np.std(best, ddof=1) / np.sqrt(len(best)) - 1e-12
    near = [row["c"] for row in saved["candidates"] if row["mean"] >= enough]
    assert _fit(run, cache, *options, "--rule", "1se")["c"] == min(near) < saved["best"]["c"]


def test_without_folds_there_is_no_search_to_keep(run: Run, hard: Path) -> None:
    _fit(run, hard, "--clf", "svm", "--c", "1", "--cv", "0", "--save-cv", "cv.json")
    assert json.loads(Path("cv.json").read_text()) is None


# Other labels


def _labels(path: Path, rows: list[tuple[str, ...]]) -> Path:
    path.write_text("\n".join(map(",".join, rows)) + "\n")
    return path


def test_a_csv_asks_the_same_codes_another_question(run: Run, hard: Path, tmp_path: Path) -> None:
    before = contents(hard)
    names = [f"ants{i:03d}.{'png' if i % 2 else 'jpg'}" for i in range(60)]
    rows = [(name, "odd" if i % 2 else "even") for i, name in enumerate(names)]
    labels = _labels(tmp_path / "labels.csv", [("path", "label"), *rows])
    found = _fit(run, hard, "--clf", "svm", "--c", "1", "--labels", labels)
    assert contents(hard) == before
    assert (found["train"], found["heldout"]["n"]) == (40, 20)
    assert found["heldout"]["classes"] == ["even", "odd"]
    split = [(*row, "val" if i % 4 == 0 else "train") for i, row in enumerate(rows)]
    labels = _labels(tmp_path / "labels.csv", [("path", "class", "split"), *split])
    done = run("fit", hard, "--clf", "svm", "--c", "1", "--labels", labels, "--overwrite")
    assert done.stderr.splitlines()[:3] == [
        f"labels from {labels}: path, label, split of 60 images",
        "60 images, 2 classes, train 45, val 15",
        "columns by their usual names: 'class' is label",
    ]
    assert "labels from" not in done.stdout
    found = _fit(run, hard, "--clf", "svm", "--c", "1", "--labels", labels, "--overwrite")
    assert found["labels"]["rows"] == 60
    assert (found["train"], found["heldout"]["split"], found["heldout"]["n"]) == (45, "val", 15)


def test_names_with_bars_between_them_are_several_labels(
    run: Run, cache: Path, tmp_path: Path
) -> None:
    colour = {"ants": "red|warm", "bees": "green", "wasps": "blue|cold"}
    with (cache / "images.csv").open(newline="") as lines:
        rows = [(row["path"], colour[row["label"]]) for row in csv.DictReader(lines)]
    labels = _labels(tmp_path / "labels.csv", [("path", "label"), *rows])
    options = ("--clf", "svm", "--layer", "layer2", "--labels", labels, "--c", "0.1")
    found = _fit(run, cache, *options)
    assert found["cv"]["metric"] == "mean_average_precision"
    heldout = found["heldout"]
    assert heldout["classes"] == ["blue", "cold", "green", "red", "warm"]
    assert heldout["average_precision"] == dict.fromkeys(heldout["classes"], 1.0)
    assert heldout.keys() >= {"split", "n", "accuracy", "ci95", "mean_per_class", "ece"}
    text = run("fit", cache, *options, "--overwrite").stdout
    assert "mean average precision" in text
    assert "all labels right for 100.0% of 12" in text
    assert ["warm", "100.0%"] in [line.split() for line in text.splitlines()]


# The head


def test_the_head_is_safetensors_with_its_classes_and_its_spec(run: Run, hard: Path) -> None:
    found = _fit(run, hard, "--clf", "softmax", "--c", "1", "-o", "deep/down/head")
    assert found["head"] == "deep/down/head"
    with safe_open("deep/down/head", framework="numpy") as head:
        values = json.loads(head.metadata()["bottleneck"])
        assert head.get_tensor("coef").shape == (3, 8)
    assert values["classes"] == ["a", "b", "c"]
    assert values["spec"] == json.loads((hard / "spec.json").read_text())["spec"]


def test_a_head_in_the_way_is_kept_unless_it_may_be_replaced(run: Run, hard: Path) -> None:
    first = ("fit", hard, "--clf", "svm", "--c", "1", "--cv", "0")
    run(*first, "-o", "head")
    before = Path("head").read_bytes()
    other = ("fit", hard, "--clf", "softmax", "--c", "1", "--cv", "0", "-o", "head")
    refused(run(*other), "head exists", "-o", "--overwrite")
    assert Path("head").read_bytes() == before
    assert run(*other, "--overwrite").exit_code == 0
    assert Path("head").read_bytes() != before


@pytest.mark.parametrize("overwrite", [[], ["--overwrite"]])
def test_a_folder_in_the_way_is_refused_by_its_name(
    run: Run, hard: Path, overwrite: list[str]
) -> None:
    Path("taken").mkdir()
    result = run("fit", hard, "--clf", "svm", "--c", "1", "--cv", "0", "-o", "taken", *overwrite)
    refused(result, "error: taken")
    assert contents(Path("taken")) == {}


# Refusals

REFUSED: list[tuple[list[str], list[str]]] = [
    (["--clf", "smv"], ["'smv'", "svm"]),
    (["--clf", "forest"], ["'forest'", "svm", "softmax"]),
    (["--layer", "layr3"], ["'layr3'", "layer3"]),
    (["--layer", "fc"], ["'fc'", "layer2, layer3", "bottleneck extract"]),
    (["--c", "0"], ["--c 0", "above 0"]),
    (["--c", "-1"], ["--c -1", "above 0"]),
    (["--c", "nan"], ["--c nan", "above 0"]),
    (["--c", "inf"], ["--c inf", "above 0"]),
    (["--c", "1,0"], ["--c 0", "above 0"]),
    (["--c", "text"], ["--c", "'text'", "numbers"]),
    (["--c", "1,text"], ["--c", "'1,text'", "numbers"]),
    (["--c", ""], ["--c", "''", "numbers"]),
    (["--cv", "1"], ["--cv 1", "at least 2"]),
    (["--cv", "-3"], ["--cv -3", "at least 2"]),
    (["--cv", "few"], ["--cv", "'few'"]),
    (["--cv", "0"], ["--cv 0", "--c"]),
    (["--cv", "0", "--c", "1,2"], ["--cv 0", "2 values", "--c"]),
    (["--preprocess", "whiten"], ["'whiten'", "standardize"]),
    (
        ["--cv", "0", "--c", "1", "--preprocess", "auto"],
        ["--cv 0", "one --scaling: standardize, sqrt"],
    ),
    (["--class-weight", "equal"], ["'equal'", "balanced"]),
    (["--metric", "loss"], ["'loss'", "accuracy", "balanced", "macro_f1"]),
    (["--rule", "2se"], ["'2se'", "best", "1se"]),
    (["--memory", "0"], ["--memory", "'0'", "8G"]),
    (["--memory", "0.5"], ["--memory", "'0.5'", "8G"]),
    (["--memory", "-1G"], ["--memory", "'-1G'", "8G"]),
    (["--memory", "8X"], ["--memory", "'8X'", "8G"]),
    (["--device", "gpu"], ["--device gpu", "auto, cpu"]),
    (["--device", "cuda:99"], ["--device cuda:99", "auto, cpu"]),
]


@pytest.mark.parametrize(
    ("options", "parts"), REFUSED, ids=[" ".join(options) for options, _ in REFUSED]
)
def test_a_wrong_option_leaves_no_head(
    run: Run, cache: Path, tmp_path: Path, options: list[str], parts: list[str]
) -> None:
    before = contents(cache)
    result = run("fit", "cache", "--clf", "svm", "--layer", "layer2", *options)
    refused(result, *parts, code=2)
    assert contents(cache) == before
    assert not list(tmp_path.glob("head*"))


@pytest.mark.parametrize(
    ("lines", "parts"),
    [
        (None, ["no such CSV of labels", "labels.csv", "path,label"]),
        (["path,split", "train/ants/ants000.jpg,train"], ["labels.csv", "no column 'label'"]),
        (["label", "x"], ["labels.csv", "no column 'path'"]),
        (["path,label", "nowhere.jpg,x"], ["'nowhere.jpg'", "train/ants/ants000.jpg"]),
        (["path,label", "train/ants/ants000.jpg,x"], ["2 classes", "'x' (1 image)"]),
    ],
)
def test_labels_that_do_not_fit_the_cache_are_refused(
    run: Run, cache: Path, tmp_path: Path, lines: list[str] | None, parts: list[str]
) -> None:
    if lines is not None:
        (tmp_path / "labels.csv").write_text("\n".join(lines) + "\n")
    options = ("--clf", "svm", "--layer", "layer2", "--labels", "labels.csv")
    refused(run("fit", "cache", *options), *parts)
    assert not list(tmp_path.glob("head*"))


def test_several_layers_need_a_choice(run: Run, cache: Path) -> None:
    refused(run("fit", "cache", "--clf", "svm"), "2 layers", "--layer", "layer2, layer3", code=2)


def test_the_classifier_has_to_be_named(run: Run, cache: Path) -> None:
    refused(run("fit", cache), "--clf", "svm", "softmax", code=2)


def test_an_incomplete_layer_is_refused_with_what_it_lacks(
    run: Run, photos: Path, tmp_path: Path, extract_tiny: Extract
) -> None:
    extract_tiny(photos, task=ArrayTask(0, 2))
    refused(run("fit", "cache", "--clf", "svm"), "'layer2'", "2 of 5 shards", "bottleneck extract")
    assert not list(tmp_path.glob("head*"))


def test_a_damaged_shard_is_refused_by_its_name(run: Run, cache: Path, tmp_path: Path) -> None:
    shard = cache / "codes" / "layer2" / "00002.h5"
    data = bytearray(shard.read_bytes())
    offset = data.index(stored(cache)[16].tobytes())
    data[offset] ^= 1
    shard.write_bytes(data)
    refused(run("fit", "cache", "--clf", "svm", "--layer", "layer2"), "00002.h5", "sha256")
    assert not list(tmp_path.glob("head*"))


def test_no_cache_is_refused_with_the_command_that_makes_one(run: Run) -> None:
    refused(run("fit", "absent", "--clf", "svm"), "no cache at absent", "bottleneck extract")


@pytest.mark.parametrize(
    ("folder", "found"), [("one/ants", "'ants' (4 images)"), ("flat", "no labelled image")]
)
def test_a_folder_without_two_classes_is_refused_with_what_was_found(
    run: Run, tmp_path: Path, extract_tiny: Extract, folder: str, found: str
) -> None:
    write_photographs(tmp_path / folder, 4, label="ants")
    extract_tiny(tmp_path / folder.split("/", maxsplit=1)[0])
    refused(run("fit", "cache", "--clf", "svm"), "2 classes", found, "folder of its own")
    assert not list(tmp_path.glob("head*"))


def _cache_of(extract_tiny: Extract, folder: Path, lines: list[str]) -> None:
    write_photographs(folder, len(lines) - 1, label="ants")
    (folder / "list.csv").write_text("\n".join(lines) + "\n")
    extract_tiny(folder / "list.csv")


@pytest.mark.parametrize(
    ("table", "parts"),
    [
        (["path", "{}", "{}"], ["2 classes", "no labelled image", "folder of its own"]),
        (["path,label", "{},queen", "{},queen"], ["2 classes", "'queen' (2 images)"]),
        (["path,label", "{},queen", "{},"], ["2 classes", "'queen' (1 image)"]),
        (
            ["path,label,split", "{},a,train", "{},b,test"],
            ["2 classes", "split 'train'", "'a' (1 image)"],
        ),
        (["path,label,split", "{},a,val", "{},b,test"], ["'train'", "test, val"]),
        (["path,label", "{},a", "{},a", "{},b"], ["1 of 2 classes", "--cv 0"]),
        (
            ["path,label,group", "{},a,x", "{},a,x", "{},b,y", "{},b,z"],
            ["1 of 2 classes", "group"],
        ),
        (["path,label,split", "{},a,train", "{},b,train", "{},c,test"], ["'c'", "knows a, b"]),
        (["path,label", "{},a|b", "{},a||b", "{},b"], ["'a||b'", "a name is empty"]),
        (["path,label", "{},a|b", "{},b|a", "{},a|b"], ["same labels", "others have not"]),
    ],
)
def test_labels_from_which_nothing_can_be_learned_are_refused(
    run: Run, tmp_path: Path, extract_tiny: Extract, table: list[str], parts: list[str]
) -> None:
    names = [f"ants{i:03d}.{'png' if i % 2 else 'jpg'}" for i in range(len(table))]
    lines = [table[0], *(row.format(names[i]) for i, row in enumerate(table[1:]))]
    _cache_of(extract_tiny, tmp_path / "list", lines)
    refused(run("fit", "cache", "--clf", "svm", "--c", "1"), *parts)
    assert not list(tmp_path.glob("head*"))


def test_a_test_split_whose_labels_are_secret_judges_nothing(
    run: Run, tmp_path: Path, extract_tiny: Extract
) -> None:
    table = ["path,label,split", "ants000.jpg,a,train", "ants001.png,b,train", "ants002.jpg,,test"]
    _cache_of(extract_tiny, tmp_path / "list", table)
    result = run("fit", "cache", "--clf", "svm", "--c", "1", "--cv", "0")
    assert "no held-out split (no image has a label in 'test')" in result.stdout


def test_a_label_that_was_never_trained_is_named(
    run: Run, tmp_path: Path, extract_tiny: Extract
) -> None:
    table = ["path,label,split", "ants000.jpg,a,train", "ants001.png,b,train", "ants002.jpg,c,test"]
    _cache_of(extract_tiny, tmp_path / "list", table)
    refused(run("fit", "cache", "--clf", "svm", "--c", "1", "--cv", "0"), "'c'", "knows a, b")


def test_a_cache_whose_images_were_all_rejected_is_refused(
    run: Run, photos: Path, extract_tiny: Extract
) -> None:
    for image in photos.rglob("*.*"):
        image.write_bytes(b"")
    extract_tiny(photos)
    refused(run("fit", "cache", "--clf", "svm", "--c", "1"), "2 classes", "no labelled image")


# Classes that are not in both splits


def _cloud_cache(folder: Path, train: list[str], test: list[str]) -> Path:
    """A cache of clouds: images whose labels begin with one letter are of one cloud."""
    labels = [*train, *test]
    cloud = np.array(["abcd".index(label.strip().lower()[0]) for label in labels])
    noise = np.random.default_rng(0).normal(scale=0.1, size=(len(labels), 4))
    split = ["train"] * len(train) + ["test"] * len(test)
    return written_cache(folder, 3 * np.eye(4)[cloud] + noise, labels, split=split)


ONE = ("--clf", "svm", "--c", "1", "--cv", "2")


def test_an_unknown_held_out_class_is_reported_and_the_others_are_scored(
    run: Run, tmp_path: Path
) -> None:
    train = ["ants", "bees"] * 4
    cache = _cloud_cache(tmp_path / "more", train, ["ants", "bees", "cows", "bees", "cows", "Ants"])
    alone = _cloud_cache(tmp_path / "less", train, ["ants", "bees", "bees"])
    told = (
        "not in the score: 3 images of 2 classes that were not trained on: 'cows' (2 images), "
        "'Ants' (1 image); 'Ants' is 'ants' but for case, blanks or Unicode form: give both one "
        "name"
    )
    result = run("fit", cache, *ONE, "-o", "head")
    assert result.exit_code == 0
    assert "held-out test  100.0% of 3 " in result.stdout
    *_, saved, remark = result.stdout.splitlines()
    assert saved.startswith("saved head")
    assert remark == told
    found = _fit(run, cache, *ONE, "-o", "again")["heldout"]
    assert found.pop("unknown") == {
        "images": 3,
        "classes": {"cows": 2, "Ants": 1},
        "similar": {"Ants": "ants"},
    }
    expected = _fit(run, alone, *ONE, "-o", "alone")["heldout"]
    for key in ("split", "n", "accuracy", "ci95", "mean_per_class", "confusion", "absent"):
        assert found[key] == expected[key], key
    assert run("evaluate", "head", cache).stdout.splitlines()[-1] == told
    result = run("sweep", cache, "--clf", "svm", "--c", "1", "--cv", "2")
    assert result.stdout.splitlines()[-1] == told
    result = run("sweep", cache, "--clf", "svm", "--c", "1", "--cv", "2", "--json")
    assert json.loads(result.stdout)[0]["heldout"]["unknown"]["images"] == 3


def test_a_held_out_split_whose_classes_are_spelt_otherwise_is_refused_with_a_hint(
    run: Run, tmp_path: Path
) -> None:
    cache = _cloud_cache(tmp_path / "c", ["Ants", "Bees"] * 4, ["ants", "bees ", "bees "])
    for command in (["fit", cache, *ONE], ["sweep", cache, *ONE]):
        refused(
            run(*command),
            *("split 'test'", "'bees ' (2 images), 'ants' (1 image)", "knows Ants, Bees"),
            *("'bees ' is 'Bees', 'ants' is 'Ants' but for case", "give both one name"),
        )
    assert not list(tmp_path.glob("head*"))


def test_a_held_out_split_that_lacks_a_class_says_over_which_the_mean_is(
    run: Run, tmp_path: Path
) -> None:
    cache = _cloud_cache(tmp_path / "c", ["ants", "bees", "cows"] * 4, ["cows", "ants", "cows"])
    text = run("fit", cache, *ONE, "-o", "head").stdout
    assert "mean per class 100.0% (2 of 3 classes: no image of 'bees')" in text
    found = _fit(run, cache, *ONE, "-o", "again")["heldout"]
    assert (found["absent"], found["mean_per_class"], found["n"]) == (["bees"], 1.0, 3)


def test_a_class_of_a_single_image_is_named_with_what_can_be_done(run: Run, tmp_path: Path) -> None:
    cache = _cloud_cache(tmp_path / "c", [*["ants", "bees", "cows"] * 4, "dodo"], ["ants"])
    parts = ("1 of 4 classes", "('dodo')", "add images", "--labels", "one value of --c and --cv 0")
    refused(run("fit", cache, "--clf", "svm"), *parts)
    refused(run("sweep", cache), *parts, "`bottleneck fit` with")
    assert _fit(run, cache, "--clf", "svm", "--c", "1", "--cv", "0", "-o", "head")["train"] == 13


def test_a_long_training_shows_its_progress(
    run: Run, hard: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bottleneck.cli.progress._SECONDS_TO_FIRST_LINE", 0.0)
    done = run("fit", hard, "--clf", "svm", "--cv", 2, "--c", "0.1,1")
    assert done.exit_code == 0, done.output
    assert re.search(r"^1 of 7 fits at most, .*/s on average, .* left$", done.stderr, re.MULTILINE)
