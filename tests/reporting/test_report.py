"""A page and its numbers, beside those that h5py, safetensors and scikit-learn give."""

import csv
import io
import json
import math
import re
import shutil
from base64 import b64decode
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import h5py
import numpy as np
import pytest
from PIL import Image
from safetensors import safe_open
from scipy.special import softmax
from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

import bottleneck as bn
from bottleneck.cache import Cache
from bottleneck.errors import (
    ImagesNotFoundError,
    InvalidOptionError,
    LabelsError,
    OutputExistsError,
    SpecMismatchError,
)
from bottleneck.fitting import learning_curve, load_dataset, resolve_features
from bottleneck.reporting import ReportResult, collect
from bottleneck.reporting.sections.verdict import verdict
from bottleneck.runtime import Progress
from tests.helpers.datasets import written_cache
from tests.helpers.pages import CLASSES, Node, noisy_cache, noisy_head, noisy_images, parse, rows_of
from tests.helpers.tuning import BOUNDARY, QUICK, hard_images, maps_cache


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return noisy_images(tmp_path_factory.mktemp("report"))


@pytest.fixture(scope="module")
def cache(images: Path) -> Cache:
    return noisy_cache(images, images.parent / "cache")


@pytest.fixture(scope="module")
def head(cache: Cache) -> Path:
    return noisy_head(cache, cache.path.parent / "head.safetensors")


@pytest.fixture(scope="module")
def result(cache: Cache, head: Path, images: Path) -> ReportResult:
    return bn.report(cache, head, cache.path.parent / "report.html", images=images)


@pytest.fixture(scope="module")
def page(result: ReportResult) -> Node:
    return parse(result.path.read_text("utf-8"))


@pytest.fixture(scope="module")
def truth(cache: Cache, head: Path) -> dict[str, Any]:
    """Targets, predictions and probabilities of the test images, without this package."""
    with h5py.File(cache.path / "codes.h5") as file:
        codes, valid = file["layer2"][...].astype(np.float64), file["layer2:valid"][...]
    with (cache.path / "images.csv").open(newline="") as table:
        rows = list(csv.DictReader(table))
    with safe_open(head, framework="numpy") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        classes = json.loads(next(iter(file.metadata().values())))["classes"]
    chosen = [i for i, row in enumerate(rows) if row["split"] == "test" and valid[i]]
    values = (codes[chosen] - tensors["mean"]) / tensors["scale"] @ tensors["coef"].T
    values += tensors["intercept"]
    return {
        "paths": [rows[i]["path"] for i in chosen],
        "true": np.array([classes.index(rows[i]["label"]) for i in chosen]),
        "predicted": values.argmax(axis=1),
        "probabilities": softmax(values * tensors["slope"] + tensors["offset"], axis=1),
        "classes": classes,
    }


def section(page: Node, name: str) -> Node:
    return page.one("section", id=name)


def names_in(node: Node) -> list[str]:
    return [span.text for span in node.all("span") if span.attributes.get("class") == "path"]


def test_the_table_of_classes_is_scikit_learns(page: Node, truth: dict[str, Any]) -> None:
    scores = precision_recall_fscore_support(truth["true"], truth["predicted"], zero_division=0)
    shown = rows_of(section(page, "classes").one("table"))
    assert shown == [
        [name, str(n), f"{precision:.1%}", f"{recall:.1%}", f"{f1:.1%}"]
        for name, precision, recall, f1, n in zip(truth["classes"], *scores, strict=True)
    ]


def test_the_matrix_and_its_cells_are_scikit_learns(page: Node, truth: dict[str, Any]) -> None:
    matrix = section(page, "confusion")
    counts = confusion_matrix(truth["true"], truth["predicted"])
    shown = rows_of(matrix.one("table"))
    assert [row[1:] for row in shown] == [list(map(str, row)) for row in counts.tolist()]
    links = [link.get("href") for link in matrix.one("table").all("a")]
    assert len(links) == (counts > 0).sum()
    for link in links:
        true, guess = map(int, re.findall(r"\d+", link))
        of_cell = (truth["true"] == true) & (truth["predicted"] == guess)
        names = names_in(matrix.one("div", id=link[1:]))
        order = np.argsort(-truth["probabilities"][of_cell].max(axis=1), kind="stable")
        assert names == [np.array(truth["paths"])[of_cell][i] for i in order][:12]


def test_a_class_name_of_two_lines_leaves_the_verdict_one_line() -> None:
    counts = SimpleNamespace(images=np.array([2, 0]))
    score = SimpleNamespace(accuracy=1.0, n=2, interval_text="", ci95=None, counts=counts)
    head = SimpleNamespace(classes=["ant\nbee", "cow"])
    findings: Any = SimpleNamespace(score=score, basis="all", head=head)
    assert "“ant\\nbee” would be right" in verdict(findings)


def test_the_verdict_has_accuracy_interval_and_baseline(
    page: Node, result: ReportResult, truth: dict[str, Any], cache: Cache, head: Path
) -> None:
    right = truth["true"] == truth["predicted"]
    score = bn.evaluate(head, cache).score
    assert score.ci95 is not None
    assert result.score.to_dict() == score.to_dict()
    counts = np.bincount(truth["true"])
    best = (
        f"“{truth['classes'][counts.argmax()]}” would be right for {counts.max() / len(right):.1%}"
    )
    assert result.verdict.startswith(f"{right.mean():.1%} of the {len(right)} images of the split")
    assert f"interval {score.ci95[0]:.1%} to {score.ci95[1]:.1%}); always answering" in (
        result.verdict
    )
    assert best in result.verdict
    text = section(page, "verdict").text
    assert result.verdict in text
    kept = np.array(truth["paths"]) != "images/copy.png"
    assert "1 of these images shows the same as a training image" in text
    assert f"the accuracy is {right[kept].mean():.1%} of {kept.sum()}" in text
    assert "for lack of codes: 1 labelled image." in text


def test_mistakes_and_uncertain_images_are_in_their_order(
    page: Node, truth: dict[str, Any]
) -> None:
    probabilities, paths = truth["probabilities"], np.array(truth["paths"])
    wrong = np.flatnonzero(truth["true"] != truth["predicted"])
    order = wrong[np.argsort(-probabilities[wrong].max(axis=1), kind="stable")]
    assert len(order) > 3
    assert names_in(section(page, "mistakes")) == paths[order][:24].tolist()
    ranked = np.sort(probabilities, axis=1)
    margin = ranked[:, -1] - ranked[:, -2]
    shown = names_in(section(page, "uncertain"))
    assert shown == paths[np.argsort(margin, kind="stable")][:24].tolist()
    captions = [figure.text for figure in section(page, "mistakes").all("figure")]
    first = probabilities[order[0]].max()
    assert (
        f"predicted {truth['classes'][truth['predicted'][order[0]]]} ({first:.0%})" in captions[0]
    )


def test_findings_of_the_audit_are_shown(page: Node, cache: Cache) -> None:
    found = bn.audit(cache)
    same = section(page, "duplicates")
    assert names_in(same)[-2:] == ["images/00.png", "images/copy.png"]
    assert f"{found.leaks} images of other splits are in train too" in same.text
    suspects = section(page, "suspects")
    assert names_in(suspects) == [one.path for one in found.suspects][:24]
    assert f"{len(found.suspects)} of {found.labels.examined} labels" in suspects.text


def test_charts_have_the_numbers_of_sweep_and_reliability(
    page: Node, cache: Cache, truth: dict[str, Any]
) -> None:
    sweep = bn.sweep(cache, "softmax")
    shown = rows_of(section(page, "layers").one("table"))
    assert [row[0] for row in shown] == ["layer2", "layer3", "all layers"]
    assert [row[3] for row in shown] == [f"{row.cv.mean:.1%}" for row in sweep]
    confidence = truth["probabilities"].max(axis=1)
    shown = rows_of(section(page, "reliability").one("table"))
    edges = np.linspace(0, 1, 16)
    counts = [((confidence > low) & (confidence <= high)).sum() for low, high in pairwise(edges)]
    assert [int(row[1]) for row in shown] == [n for n in counts if n]
    right = truth["true"] == truth["predicted"]
    in_bins = [right[(confidence > low) & (confidence <= high)] for low, high in pairwise(edges)]
    assert [row[3] for row in shown] == [f"{each.mean():.1%}" for each in in_bins if len(each)]
    dataset = load_dataset(cache, resolve_features(cache, "layer2"), cache.images)
    softmax_head = bn.ClassifierOptions("softmax")
    curve = learning_curve(dataset.training, softmax_head, c=0.1, scaling="standardize")
    shown = rows_of(section(page, "curve").one("table"))
    assert [row[:2] for row in shown] == [[str(p.images), f"{p.score:.1%}"] for p in curve.points]
    for chart in page.all("svg"):
        assert chart.get("role") == "img"
        assert chart.one("title").text
        assert chart.one("desc").text
    assert len(page.all("svg")) == 3


def test_the_page_needs_nothing_from_outside(page: Node, result: ReportResult) -> None:
    text = result.path.read_text("utf-8")
    assert not re.search(r"""(src|href)=["'](?!#|data:)""", text)
    assert not re.search(r"url\(|@import|https?://", text)
    policy = next(meta for meta in page.all("meta") if "http-equiv" in meta.attributes)
    assert policy.get("content").startswith("default-src 'none'; img-src data:; ")
    ids = [
        value
        for node in page.all("section") + page.all("div") + page.all("h2")
        if (value := node.attributes.get("id"))
    ]
    assert len(set(ids)) == len(ids)
    for link in page.all("a"):
        assert link.get("href")[1:] in [*ids, "main"]


def test_scrolling_regions_can_be_focused_by_keyboard(page: Node) -> None:
    wide = [node for node in page.all("div") if node.attributes.get("class") == "wide"]
    assert len(wide) == len(page.all("table")) > 3
    for node in [*wide, *page.all("pre")]:
        assert (node.get("tabindex"), node.get("role")) == ("0", "group")
        assert node.get("aria-label")


def test_names_are_texts_and_never_markup(page: Node, result: ReportResult) -> None:
    text = result.path.read_text("utf-8")
    assert "<script>alert" not in text
    assert len(page.all("script")) == 1
    assert CLASSES[0] in section(page, "classes").text
    assert any(CLASSES[1] in image.get("alt") for image in page.all("img"))


def test_thumbnails_are_small_and_say_what_they_show(page: Node, result: ReportResult) -> None:
    every = page.all("img")
    assert (result.shown, result.wanted) == (len(every), len(page.all("figure")))
    assert result.thumbnails.startswith(f"{len(every)} of {len(every)} thumbnails shown, ")
    for image in every:
        assert re.match(r"images/\w+\.png: (labelled .+, |shows the same as )", image.get("alt"))
        kind, _, data = image.get("src").partition(",")
        assert kind == "data:image/webp;base64"
        assert max(Image.open(io.BytesIO(b64decode(data))).size) <= 128
    assert result.bytes == result.path.stat().st_size
    assert result.to_dict()["thumbnails"] == {
        "shown": len(every),
        "wanted": len(every),
        "unreadable": {},
    }


def test_rejected_files_and_the_calls_are_there(page: Node) -> None:
    ((name, reason),) = rows_of(section(page, "rejected").one("table"))
    assert name == "images/broken.png"
    assert reason.startswith("cannot be decoded: ")


def test_the_calls_on_the_page_make_the_same_again(
    page: Node, cache: Cache, head: Path, tmp_path: Path
) -> None:
    code = section(page, "origin").one("code").text
    for old in (cache.path, head, cache.path.parent / "report.html"):
        code = code.replace(repr(str(old)), repr(str(tmp_path / old.name)))
    known: dict[str, Any] = {}
    exec(code, known)
    again = parse((tmp_path / "report.html").read_text("utf-8"))
    for name in ("classes", "confusion", "mistakes", "suspects", "layers", "curve"):
        assert section(again, name).text == section(page, name).text, name
    assert known["cache"].cache.spec == cache.spec
    assert cache.spec.digest() in section(page, "origin").text


def quick(
    cache: Cache, head: Any, out: Path, *, layers: str = "layer2", **options: Any
) -> tuple[ReportResult, Node]:
    result = bn.report(cache, head, out, layers=layers, **options)
    return result, parse(result.path.read_text("utf-8"))


def test_a_limit_on_bytes_is_held_and_mistakes_come_first(
    cache: Cache, head: Path, images: Path, tmp_path: Path, result: ReportResult
) -> None:
    limited, page = quick(cache, head, tmp_path / "small.html", images=images, max_bytes=30_000)
    inlined = [image.get("src") for image in page.all("img")]
    assert 0 < sum(map(len, inlined)) <= 30_000
    assert (limited.shown, limited.wanted) == (len(inlined), result.wanted)
    said = f"{limited.shown} of {limited.wanted} thumbnails shown, "
    assert limited.thumbnails.startswith(said)
    assert limited.thumbnails.endswith("of at most 30 kB")
    assert limited.thumbnails in page.one("footer").text
    assert len(section(page, "mistakes").all("img")) == len(section(page, "mistakes").all("figure"))
    assert len(names_in(section(page, "confusion"))) > len(section(page, "confusion").all("img"))
    assert limited.bytes < result.bytes


def test_without_images_names_stand_alone(cache: Cache, head: Path, tmp_path: Path) -> None:
    result, page = quick(cache, head, tmp_path / "names.html")
    assert not page.all("img")
    assert names_in(section(page, "mistakes"))
    assert result.thumbnails.startswith("no thumbnails: ")
    assert result.thumbnails in page.one("footer").text


def test_images_that_are_gone_are_said(
    cache: Cache, head: Path, images: Path, tmp_path: Path, page: Node
) -> None:
    gone = names_in(section(page, "mistakes"))[0]
    shutil.copytree(images.parent / "images", tmp_path / "images")
    shutil.copy(images, tmp_path)
    (tmp_path / gone).unlink()
    result, again = quick(cache, head, tmp_path / "page.html", images=tmp_path / "images.csv")
    assert list(result.unreadable) == [gone]
    pictures = again.all("figure")
    lost = [figure for figure in pictures if gone in figure.text]
    assert len(lost) == len(pictures) - len(again.all("img")) > 1  # in several parts of the page
    assert (
        f"{len(lost)} would be of 1 image that was not found among those given, such as {gone}: "
        "cannot be read"
    ) in result.thumbnails
    assert result.thumbnails in again.one("footer").text
    assert gone in names_in(section(again, "mistakes"))
    assert len(again.all("img")) == result.shown < result.wanted


def test_another_image_of_the_same_name_is_not_shown(
    cache: Cache, head: Path, images: Path, tmp_path: Path, page: Node
) -> None:
    one, other = names_in(section(page, "mistakes"))[:2]
    shutil.copytree(images.parent / "images", tmp_path / "images")
    shutil.copy(images, tmp_path)
    shutil.copy(tmp_path / other, tmp_path / one)
    result, _ = quick(cache, head, tmp_path / "page.html", images=tmp_path / "images.csv")
    assert result.unreadable == {one: "its bytes are not those that were encoded"}


def test_removed_images_lack_no_codes(
    cache: Cache, head: Path, images: Path, tmp_path: Path, page: Node
) -> None:
    assert "1 of 62 files gave no codes." in section(page, "rejected").text
    assert "for lack of codes: 1 labelled image." in section(page, "verdict").text
    shutil.copytree(images.parent / "images", tmp_path / "images")
    shutil.copytree(cache.path, tmp_path / "cache")
    for without, said in (("copy", "1 of 61 files"), ("broken", "None: all 60 images have codes.")):
        shorter = tmp_path / "images.csv"
        lines = (shorter if shorter.exists() else images).read_text().splitlines(keepends=True)
        shorter.write_text("".join(line for line in lines if without not in line))
        fewer = noisy_cache(shorter, tmp_path / "cache", redo=[("layer2", 3), ("layer3", 3)])
        _, page = quick(fewer, head, tmp_path / f"{without}.html")
        assert said in section(page, "rejected").text
    assert "for lack of codes" not in section(page, "verdict").text


def test_without_splits_images_are_judged_in_folds(
    cache: Cache, images: Path, tmp_path: Path
) -> None:
    labels = tmp_path / "labels.csv"
    labels.write_text(re.sub(",(test|train)\n", ",\n", images.read_text()))
    head = noisy_head(cache, tmp_path / "head", labels=labels)
    told: list[Progress] = []
    result, page = quick(
        cache, head, tmp_path / "folds.html", labels=labels, on_progress=told.append
    )
    assert told[:6] == [Progress(done, 5, "fits at most") for done in range(6)]
    assert result.score.n == 61
    search = bn.SearchOptions(c=(0.1,), cv=5)
    folds = bn.fit(cache, "softmax", layers="layer2", labels=labels, search=search).search
    assert folds is not None
    assert result.score.accuracy == pytest.approx(folds.best.mean, abs=0.01)  # folds of 12 and 13
    assert "in cross-validation, each image was judged by a head" in section(page, "verdict").text
    in_folds = section(page, "uncertain").text
    other = replace(bn.Head.load(head), training_record={})
    trained_on, page = quick(cache, other, tmp_path / "all.html", labels=labels)
    assert trained_on.score.n == 61
    assert section(page, "uncertain").text != in_folds
    assert "If the head was trained on them" in section(page, "verdict").text


def test_images_whose_other_split_has_no_usual_name_are_all_judged_for_an_unknown_head(
    cache: Cache, images: Path, head: Path, tmp_path: Path
) -> None:
    labels = tmp_path / "labels.csv"
    labels.write_text(images.read_text().replace(",test\n", ",holdout\n"))
    other = replace(bn.Head.load(head), training_record={"cv": "five", "c": math.inf})  # another's
    result, page = quick(cache, other, tmp_path / "all.html", labels=labels)
    assert result.score.n == 61
    assert "If the head was trained on them" in section(page, "verdict").text


def test_in_folds_nothing_is_said_of_the_plain_view_alone(tmp_path: Path) -> None:
    random, classes = np.random.default_rng(0), np.tile([0, 1], 20)
    noise = random.normal(size=(40, 4)).astype(np.float32)
    clear = noise + 20 * classes[:, np.newaxis].astype(np.float32)
    path = written_cache(tmp_path / "cache", noise, list(map(str, classes)), views=[clear, clear])
    cache = bn.open_cache(path)
    head = bn.fit(cache, "softmax", search=bn.SearchOptions(c=(0.01,), cv=0)).head
    result, page = quick(cache, head, tmp_path / "page.html", layers="layer")
    assert (result.score.accuracy, result.score.views, result.score.plain) == (1.0, 3, None)
    assert "judged by the mean of 3 views." in section(page, "verdict").text


def test_heads_like_a_balanced_one_are_balanced(
    cache: Cache, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    labels = tmp_path / "labels.csv"
    labels.write_text(re.sub(",(test|train)\n", ",\n", images.read_text()))
    options = bn.ClassifierOptions("softmax", class_weight="balanced")
    search = bn.SearchOptions(c=(0.1,), cv=0)
    head = bn.fit(cache, options, layers="layer2", labels=labels, search=search).head
    seen: list[bn.ClassifierOptions] = []
    for name in ("CrossValidation", "learning_curve", "sweep"):
        monkeypatch.setattr(collect, name, spy_on(getattr(collect, name), seen.append))
    _, page = quick(cache, head, tmp_path / "page.html", labels=labels)
    assert seen == [options] * 3
    code = "bn.ClassifierOptions('softmax', class_weight='balanced')"
    assert code in section(page, "origin").one("code").text


def spy_on(function: Callable[..., Any], note: Callable[[Any], None]) -> Callable[..., Any]:
    """Return the function; its second argument is noted at each call."""

    def spied(*arguments: Any, **options: Any) -> Any:
        note(arguments[1])
        return function(*arguments, **options)

    return spied


def test_a_head_without_probabilities_has_no_reliability(
    cache: Cache, head: Path, tmp_path: Path
) -> None:
    plain = replace(bn.Head.load(head), calibration=None)
    _, page = quick(cache, plain, tmp_path / "page.html")
    assert "no probabilities" in section(page, "reliability").text
    assert "decision values" in section(page, "mistakes").text


def test_heads_and_options_that_do_not_fit_are_refused(
    cache: Cache, head: Path, tmp_path: Path
) -> None:
    out = tmp_path / "page.html"
    several = replace(bn.Head.load(head), multilabel=True)
    with pytest.raises(LabelsError, match="one class an image"):
        bn.report(cache, several, out)
    other = bn.Head.load(head)
    spec = replace(other.spec, pool="max")
    with pytest.raises(SpecMismatchError, match="pool"):
        bn.report(cache, replace(other, spec=spec), out)
    with pytest.raises(ImagesNotFoundError, match="nowhere"):
        bn.report(cache, head, out, images="nowhere")
    with pytest.raises(InvalidOptionError, match="max_bytes"):
        bn.report(cache, head, out, max_bytes=-1)
    assert not out.exists()
    out.write_text("mine")
    with pytest.raises(OutputExistsError, match="overwrite"):
        bn.report(cache, head, out)
    assert out.read_text() == "mine"


def test_of_many_classes_the_largest_mistakes_are_listed(tmp_path: Path) -> None:
    random, k = np.random.default_rng(0), 45
    classes = np.tile(np.arange(k), 6)
    codes = 3 * random.normal(size=(k, 8))[classes] + random.normal(size=(6 * k, 8))
    labels = [f"class {n:02d}" for n in classes]
    split = ["train"] * (4 * k) + ["test"] * (2 * k)
    cache = bn.open_cache(written_cache(tmp_path / "cache", codes, labels, split=split))
    head = bn.fit(cache, "softmax", search=bn.SearchOptions(c=(0.01,), cv=0)).head
    result, page = quick(cache, head, tmp_path / "page.html", layers="layer")
    confusion = result.score.confusion.copy()  # judged beside scikit-learn above
    np.fill_diagonal(confusion, 0)
    matrix = section(page, "confusion")
    rows = rows_of(matrix.one("table"))
    assert len(rows) == (confusion > 0).sum() <= 60
    counts = [int(row[2]) for row in rows]
    assert counts == sorted(confusion[confusion > 0].tolist(), reverse=True)
    for true, guess, count in rows:
        assert confusion[int(true[-2:]), int(guess[-2:])] == int(count)
    assert len(matrix.all("details", name="cell")) == len(rows)


def test_a_tuned_tail_is_reported_from_its_maps(tmp_path: Path) -> None:
    images = hard_images(tmp_path)
    maps = maps_cache(images, tmp_path / "maps", count=1)
    tail = bn.tune(maps, options=QUICK).tail
    tail.save(tmp_path / "tail.safetensors")
    out = tmp_path / "page.html"
    result = bn.report(maps, tmp_path / "tail.safetensors", out, images=images, device="cpu")
    judged = bn.evaluate(tail, maps, compute=bn.ComputeOptions(device="cpu"))
    assert result.score.to_dict() == judged.score.to_dict()
    page = parse(out.read_text("utf-8"))
    assert page.one("h1").text == f"tuned tail on {BOUNDARY}"
    assert "poolingnoneReLU" in section(page, "origin").text.replace("\n", "")
    assert "their maps averaged over positions" in section(page, "layers").text
    channels = maps.finished_shards(BOUNDARY)[0].shape[1]
    assert {row[2] for row in rows_of(section(page, "layers").one("table"))} == {str(channels)}
    assert len(page.all("svg")) == 3
    assert result.shown == result.wanted > 0


@pytest.mark.parametrize(
    ("tuned", "pooling"),
    [(False, "5: avg, 5@2x2: 2"), pytest.param(True, "none", marks=pytest.mark.slow)],
)
def test_poolings_are_those_of_the_layers(tmp_path: Path, tuned: bool, pooling: str) -> None:
    images = hard_images(tmp_path)
    layers = [f"{BOUNDARY}@none", "5", "5@2x2"]
    cache = maps_cache(images, tmp_path / "cache", layers=layers, pool="avg", relu=True, count=1)
    if tuned:
        bn.tune(cache, options=QUICK).tail.save(tmp_path / "head.safetensors")
    else:
        linear = bn.fit(cache, "svm", layers="all", search=bn.SearchOptions(c=1.0))
        linear.head.save(tmp_path / "head.safetensors")
    bn.report(cache, tmp_path / "head.safetensors", tmp_path / "page.html", device="cpu")
    page = parse((tmp_path / "page.html").read_text("utf-8"))
    assert f"pooling{pooling}ReLU" in section(page, "origin").text.replace("\n", "")
    said = section(page, "layers").text
    assert "maps" not in said  # they are not compared
    assert ("in bold" in said) is not tuned
