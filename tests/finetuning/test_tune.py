"""`bottleneck.tune`, against evaluations of its result and heads on extracted codes."""

import dataclasses
import shutil
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from bottleneck.backbones.backbone import load_backbone
from bottleneck.cache.store import Cache
from bottleneck.errors import (
    CacheError,
    DeviceMemoryError,
    ImagesNotFoundError,
    InvalidOptionError,
    LabelsError,
    SpecMismatchError,
    TrainingError,
)
from bottleneck.extraction.options import ComputeOptions
from bottleneck.finetuning import choose_boundary
from bottleneck.finetuning import tune as tune_module
from bottleneck.finetuning.training import trainer as trainer_module
from bottleneck.finetuning.training.forward import to_device
from bottleneck.finetuning.training.loop import train
from bottleneck.finetuning.training.run import TrainingProgress
from bottleneck.finetuning.tune import tune
from bottleneck.finetuning.tune_result import TuneResult
from bottleneck.fitting.fit import fit
from bottleneck.fitting.scoring.paired import compare_pairs
from bottleneck.fitting.scoring.scores import Score
from bottleneck.prediction.evaluate import evaluate
from bottleneck.prediction.predict import predict
from tests.helpers import searches
from tests.helpers.networks import NETWORKS, SMALL
from tests.helpers.tuning import BOUNDARY, CHAIN, QUICK, hard_images, maps_cache

few_cs, one_trial = searches.few_cs, searches.one_trial

CPU = ComputeOptions(device="cpu")


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return hard_images(tmp_path_factory.mktemp("images"))


@pytest.fixture(scope="module")
def maps(images: Path) -> Cache:
    return maps_cache(images, images.parent / "maps")


@pytest.fixture(scope="module")
def tuned(maps: Cache) -> TuneResult:
    return tune(maps, options=dataclasses.replace(QUICK, init="fresh", lr=5e-3, epochs=6))


@pytest.fixture(scope="module")
def quick(maps: Cache) -> TuneResult:
    return tune(maps, options=QUICK)


def test_a_batch_that_does_not_fit_into_memory_is_divided_or_one_line(
    maps: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    most = 4

    def limited(batch: torch.Tensor, *args: Any) -> torch.Tensor:
        if len(batch) > most:
            raise torch.OutOfMemoryError("CUDA out of memory.\nTried to allocate 2 GiB")
        return to_device(batch, *args)

    monkeypatch.setattr("bottleneck.finetuning.training.loop.to_device", limited)
    options = dataclasses.replace(QUICK, lr=5e-3, epochs=1, batch_size=5, init="fresh")
    result = tune(maps, options=options)
    assert result.run.max_batch_size == result.run.to_dict()["max_batch_size"] == 2
    assert "the device holds 2 images of a step at a time" in str(result)
    most = 0
    with pytest.raises(DeviceMemoryError, match=r"training on 5 images .*: give a smaller `batch_"):
        tune(maps, options=options)


@pytest.mark.parametrize("computed", ["bfloat16", "float32"])
def test_the_record_names_the_precision_that_the_processor_computes_in(
    maps: Cache, computed: str, request: pytest.FixtureRequest
) -> None:
    request.getfixturevalue(f"{computed}_processor")
    asked, known = (
        tune(maps, options=dataclasses.replace(QUICK, precision=precision, lr=5e-3, epochs=1)).tail
        for precision in ("bfloat16", computed)
    )
    assert asked.training_record["recipe"]["precision"] == asked.recipe["precision"] == computed
    assert all(np.array_equal(asked.tensors[name], known.tensors[name]) for name in known.tensors)


def alike(one: Score, other: Score) -> bool:
    """Whether two scores are the same but for rounding of probabilities."""
    return one.ece == pytest.approx(other.ece, abs=0.01) and (
        dataclasses.replace(one, ece=None).to_dict()
        == dataclasses.replace(other, ece=None).to_dict()
    )


def test_the_score_is_that_of_the_result_on_the_cache_and_on_the_images(
    tuned: TuneResult, maps: Cache, images: Path, tmp_path: Path
) -> None:
    assert tuned.heldout is not None
    tuned.tail.save(tmp_path / "tail")
    on_cache = evaluate(tmp_path / "tail", maps, compute=CPU).score
    on_images = evaluate(tmp_path / "tail", images, compute=CPU).score
    assert alike(on_cache, tuned.heldout)
    assert alike(on_images, tuned.heldout)
    assert on_images.shared_groups == on_cache.shared_groups == 20
    assert (on_cache.split, on_cache.n, on_cache.views, on_cache.groups) == ("test", 20, 2, 10)
    plain = evaluate(tuned.tail, maps, views=1, compute=CPU).score
    assert (plain.accuracy, plain.plain) == (tuned.heldout.plain, None)


def test_tuning_lowers_the_loss_and_keeps_the_frozen_part(tuned: TuneResult, maps: Cache) -> None:
    before = load_backbone(CHAIN, transform=SMALL).tail(BOUNDARY).program.state_dict()
    after = {name: value for name, value in tuned.tail.tensors.items() if "tail." in name}
    assert after.keys() == {f"tail.{name}" for name in before}  # none of what is before it
    moved = [n for n, v in before.items() if np.abs(after[f"tail.{n}"] - v.numpy()).max() > 1e-4]
    assert sorted(moved) == ["3.bias", "3.weight", "4.bias", "4.weight"]  # and no statistics
    assert len(tuned.run.curves) == tuned.choice.epochs + 1 > 1
    (trial,) = tuned.choice.runs
    losses = [scores.loss for scores in trial.curves if scores.loss is not None]
    assert losses[-1] < losses[0]


def test_the_linear_head_is_that_of_the_extracted_codes(
    tuned: TuneResult, images: Path, tmp_path: Path
) -> None:
    cache = maps_cache(images, tmp_path / "codes", layers=["7"], pool="avg")
    expected = fit(cache, "softmax", layers="7")
    assert tuned.linear.c == expected.c
    np.testing.assert_allclose(tuned.linear.head.coef, expected.head.coef, rtol=0.02, atol=0.02)
    assert tuned.linear.heldout is not None
    assert expected.heldout is not None
    assert alike(tuned.linear.heldout, expected.heldout)
    again = evaluate(tuned.linear.head, cache).score  # it can be used as it is
    assert again.accuracy == expected.heldout.accuracy


def test_the_comparison_is_of_the_predictions_of_both(
    tuned: TuneResult, images: Path, tmp_path: Path
) -> None:
    cache = maps_cache(images, tmp_path / "codes", layers=["7"], pool="avg")
    held = [i for i, split in enumerate(cache.images.split) if split == "test"]
    right = []
    for classifier in (tuned.tail, tuned.linear.head):
        found = list(predict(classifier, images, compute=CPU))
        right.append(np.array([found[i].label == cache.images.label[i] for i in held]))
    groups = np.array([int(cache.images.group[i][1:]) for i in held])
    assert tuned.comparison == compare_pairs(right[0], right[1], groups)
    assert tuned.comparison.gained + tuned.comparison.lost > 0  # else this shows nothing


def test_without_an_epoch_the_tail_is_the_linear_head(
    maps: Cache, images: Path, tmp_path: Path
) -> None:
    # So small a rate changes nothing, and no epoch is better than the start.
    result = tune(maps, options=dataclasses.replace(QUICK, lr=1e-12, epochs=1))
    codes = maps_cache(images, tmp_path / "codes", layers=["7"], pool="avg")
    head = fit(codes, "softmax")
    assert result.heldout is not None
    assert head.heldout is not None
    assert alike(result.heldout, head.heldout)
    assert result.comparison is not None
    assert (result.comparison.gained, result.comparison.lost) == (0, 0)


def test_a_training_that_diverged_is_no_result(maps: Cache) -> None:
    options = dataclasses.replace(QUICK, lr=1e6, optimizer="sgd", batch_norm="train")
    with pytest.raises(TrainingError, match="diverged"):
        tune(maps, options=options)


def test_a_final_training_that_diverged_is_no_result(
    maps: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    def diverges(*_: Any, **options: Any) -> Any:
        run = train(*_, **options)
        return dataclasses.replace(run, diverged=options["kept_back"] is None)

    monkeypatch.setattr(trainer_module, "train", diverges)
    with pytest.raises(TrainingError, match=r"diverged in epoch . of .*no result: .* `lr`"):
        tune(maps, options=QUICK)


def test_the_whole_network_is_trained_from_images(images: Path, tmp_path: Path) -> None:
    options = dataclasses.replace(QUICK, lr=0.02)
    result = tune(images, model=CHAIN, transform=SMALL, options=options, views=2)
    assert result.heldout is not None
    assert (result.tail.boundary, result.tail.features.views) == (None, 2)
    result.tail.save(tmp_path / "network")
    again = evaluate(tmp_path / "network", images, compute=CPU).score
    assert again.accuracy == result.heldout.accuracy
    assert again.plain == result.heldout.plain
    assert result.linear.head.features.layers == ("7",)
    plain = tune(images, model=CHAIN, transform=SMALL, options=options, augmentations=())
    assert plain.tail.features.recipe is None
    with pytest.raises(InvalidOptionError, match="views"):
        tune(images, model=CHAIN, transform=SMALL, options=options, augmentations=(), views=2)


def test_an_image_that_cannot_be_read_is_named_and_left_out(images: Path, tmp_path: Path) -> None:
    broken = tmp_path / "hard"
    broken.symlink_to(images.parent / "hard")
    lines = images.read_text().splitlines()
    (tmp_path / "no.jpg").write_bytes(b"no image")
    (tmp_path / "list.csv").write_text("\n".join([*lines, "no.jpg,a,train,g1"]) + "\n")
    result = tune(tmp_path / "list.csv", model=CHAIN, transform=SMALL, options=QUICK)
    assert list(result.rejected) == ["no.jpg"]
    assert "rejected: no.jpg: " in str(result)
    assert result.train == 40


def test_a_file_for_the_state_is_refused_before_the_cache_is_opened(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("of another program")
    with pytest.raises(InvalidOptionError, match=r"`resume='.*state'`: must be a folder"):
        tune(tmp_path / "cache", resume=tmp_path / "state")


@pytest.mark.parametrize("source", ["maps", "images"])
def test_copies_of_training_images_are_counted_as_by_evaluate(
    source: str, images: Path, tmp_path: Path
) -> None:
    (tmp_path / "hard").symlink_to(images.parent / "hard")
    header, *lines = images.read_text().splitlines()
    trained, judged = (next(line for line in lines if f",{s}," in line) for s in ("train", "test"))
    copies = {"of_train.jpg": trained, "of_test.jpg": judged}
    for name, line in copies.items():
        shutil.copy(images.parent / line.split(",")[0], tmp_path / name)
    again = [f"{name},a,test,g99" for name in copies]
    (tmp_path / "list.csv").write_text("\n".join([header, *lines, *again]) + "\n")
    cache = maps_cache(tmp_path / "list.csv", tmp_path / "maps", count=1)
    if source == "maps":
        result = tune(cache, options=QUICK)
        assert evaluate(result.tail, cache, compute=CPU).score.copies == 1
    else:
        result = tune(tmp_path / "list.csv", model=CHAIN, transform=SMALL, options=QUICK)
    assert result.heldout is not None
    assert result.linear.heldout is not None
    assert (result.heldout.n, result.heldout.copies, result.linear.heldout.copies) == (22, 1, 1)
    assert "1 image has the same bytes as a training image" in str(result)


def test_several_labels_an_image(maps: Cache, tmp_path: Path) -> None:
    lines = ["path,label,split"]
    for i, path in enumerate(maps.images.path):
        label = "|".join(name for k, name in enumerate("xyz") if (i // 20 + k + i % 2) % 3)
        lines.append(f"{path},{label},{'test' if i % 3 == 2 else 'train'}")
    (tmp_path / "labels.csv").write_text("\n".join(lines) + "\n")
    result = tune(maps, labels=tmp_path / "labels.csv", options=QUICK)
    assert result.labels is not None
    assert (result.tail.multilabel, result.tail.classes) == (True, ["x", "y", "z"])
    assert result.heldout is not None
    assert "mean_average_precision" in result.heldout.to_dict()
    found = next(predict(result.tail, maps_of(maps), compute=CPU))
    assert 0 < sum(found.scores.values()) < 3


def maps_of(cache: Cache) -> list[str]:
    return [str(cache.path.parent / path) for path in cache.images.path[:1]]


def test_without_a_held_out_split_nothing_is_claimed(maps: Cache, tmp_path: Path) -> None:
    lines = [f"{path},{'ab'[i % 2]},train" for i, path in enumerate(maps.images.path)]
    (tmp_path / "labels.csv").write_text("\n".join(["path,label,split", *lines]) + "\n")
    result = tune(maps, labels=tmp_path / "labels.csv", options=QUICK)
    assert (result.score, result.comparison, result.better) == (None, None, None)
    assert "no held-out split: nothing says" in str(result)
    lines = [
        f"{path},{'ab'[i % 2]},{('train', 'spare')[i % 3 == 2]}"
        for i, path in enumerate(maps.images.path)
    ]
    (tmp_path / "labels.csv").write_text("\n".join(["path,label,split", *lines]) + "\n")
    result = tune(maps, labels=tmp_path / "labels.csv", options=QUICK)
    assert "(no split is called test or val; 'spare' is neither trained on" in result.verdict


def test_a_run_goes_on_from_its_folder(quick: TuneResult, maps: Cache, tmp_path: Path) -> None:
    seen = []

    def stop(progress: Any) -> None:
        seen.append(progress)
        if progress.epoch == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tune(maps, options=QUICK, resume=tmp_path / "state", on_progress=stop)
    first: list[TrainingProgress] = []
    result = tune(maps, options=QUICK, resume=tmp_path / "state", on_progress=first.append)
    assert first[0].epoch == 2
    for name, tensor in quick.tail.tensors.items():
        assert np.array_equal(result.tail.tensors[name], tensor), name


@pytest.mark.parametrize("source", ["maps", "images"])
def test_a_training_on_other_views_is_not_continued(
    source: str, maps: Cache, images: Path, tmp_path: Path
) -> None:
    # New outputs start from zeros whatever is shown, so that the start does not tell them apart.
    options: dict[str, Any] = {"options": dataclasses.replace(QUICK, init="fresh", epochs=1)}
    two: dict[str, Any] = {"views": 2}
    one: dict[str, Any] = {"views": 1}
    if source == "images":
        options |= {"model": CHAIN, "transform": SMALL}
        two, one = {"augmentations": ["flip"]}, {"augmentations": ["crop"]}
    given = maps if source == "maps" else images
    tune(given, **two, **options, resume=tmp_path)
    steps: list[TrainingProgress] = []
    tune(given, **one, **options, resume=tmp_path, on_progress=steps.append)
    assert steps[0].epoch == 1
    steps.clear()
    tune(given, **two, **options, resume=tmp_path, on_progress=steps.append)
    assert not steps  # the first one is there as it was


def test_what_no_code_tells_makes_another_training(images: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(images.parent, tmp_path / "images"))
    (network := tmp_path / "network.py").write_text(NETWORKS.read_text())

    def is_continued() -> bool:
        steps: list[TrainingProgress] = []
        tune(
            folder / images.name,
            model=f"{network}:chain",
            transform=SMALL,
            options=dataclasses.replace(QUICK, init="fresh", epochs=1),
            resume=tmp_path / "state",
            on_progress=steps.append,
        )
        return not steps

    assert [is_continued(), is_continued()] == [False, True]
    network.write_text(NETWORKS.read_text().replace("nn.Dropout(0.2)", "nn.Dropout(0.3)"))
    assert [is_continued(), is_continued()] == [False, True]
    for path in (folder / "hard").iterdir():
        path.write_bytes(path.read_bytes() + b"\0")  # the same pixels, of which others are cut out
    assert not is_continued()


def test_memory_is_bounded_for_maps_larger_than_it(
    tuned: TuneResult, images: Path, tmp_path: Path
) -> None:
    # `tuned` has loaded what a run needs. 60 maps of 96 KiB are 5.6 MiB.
    large = {"resize": 128, "crop": 128}
    cache = maps_cache(images, tmp_path / "large", transform=large, count=1)
    options = dataclasses.replace(QUICK, epochs=1, batch_size=4, init="fresh")
    for memory, is_bounded in ((1 << 19, True), (1 << 30, False)):
        tracemalloc.start()
        tune(cache, options=options, memory=memory)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert (peak < 4 << 20) == is_bounded, peak


# What is refused


def test_pooled_codes_are_refused(images: Path, tmp_path: Path) -> None:
    cache = maps_cache(images, tmp_path / "codes", pool="avg", count=1)
    with pytest.raises(CacheError, match=r"pooled by 'avg', of shape \(6,\).*`layers=2@none` adds"):
        tune(cache, options=QUICK)


def test_maps_beside_codes_give_the_same_tail(
    quick: TuneResult, images: Path, tmp_path: Path
) -> None:
    cache = maps_cache(images, tmp_path / "codes", layers=["2", "2@none"], pool="avg", relu=True)
    assert cache.layers == ["2", "2@none"]
    assert choose_boundary(cache, None) == choose_boundary(cache, "2@none") == "2@none"
    found, expected = tune(cache, layer="2", options=QUICK), quick
    assert expected.heldout is not None
    assert found.tail.boundary == "2@none"
    assert found.to_dict()["heldout"] == expected.to_dict()["heldout"]
    for name, tensor in expected.tail.tensors.items():
        np.testing.assert_array_equal(found.tail.tensors[name], tensor)
    found.tail.save(tmp_path / "tail.safetensors")
    for target in (cache, images):
        assert alike(evaluate(tmp_path / "tail.safetensors", target).score, expected.heldout)


def test_maps_without_their_negative_values_are_refused(images: Path, tmp_path: Path) -> None:
    cache = maps_cache(images, tmp_path / "codes", layers=["3"], count=1)
    with pytest.raises(CacheError, match=r"lacks the values below 0 of '3'.*`relu=False`"):
        tune(cache, options=QUICK)
    whole = maps_cache(images, tmp_path / "whole", layers=["3"], relu=False, count=1)
    assert tune(whole, options=QUICK).tail.boundary == "3"


def test_one_layer_is_named(images: Path, tmp_path: Path) -> None:
    cache = maps_cache(images, tmp_path / "two", layers=["2", "5"], count=1)
    for layer in (None, "all"):
        with pytest.raises(InvalidOptionError, match=r"`layer=.*one layer of .*two \(2, 5\): "):
            tune(cache, layer=layer, options=QUICK)


def test_another_network_than_the_caches_is_refused(maps: Cache) -> None:
    torch.manual_seed(9)
    other = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.Flatten())
    with pytest.raises(SpecMismatchError, match="give the network that the cache was made with"):
        tune(maps, model=other, options=QUICK)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"transform": {"crop": 64}}, "`crop=64`: must be left out: it is for images"),
        ({"transform": {"mean": (0.5, 0.5, 0.5)}}, "`mean='0.5,0.5,0.5'`: must be left out"),
        ({"augmentations": ["flip", "crop"]}, "`augmentations='flip,crop'`: must be left out"),
    ],
)
def test_options_of_images_are_refused_for_a_cache(
    maps: Cache, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(InvalidOptionError, match=message):
        tune(maps, options=QUICK, **options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"layer": "2"}, "`layer=.*left out: it is for a cache"),
        ({"memory": 1}, "`memory=.*left out: it is for a cache"),
        ({"labels": "x.csv"}, "`labels=.*left out: it is for a cache"),
        ({}, "`model=None`: must be given for images"),
        ({"views": "all", "model": CHAIN}, "`views='all'`: must be a number"),
    ],
)
def test_options_of_a_cache_are_refused_for_images(
    images: Path, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(InvalidOptionError, match=message):
        tune(images, options=QUICK, **options)


def test_a_path_that_is_neither_cache_nor_images_is_named() -> None:
    with pytest.raises(ImagesNotFoundError, match=r"no such directory or file of images: maps\.x"):
        tune("maps.x", layer="2", options=QUICK)


def test_labels_are_looked_at_before_a_network_is_loaded(
    maps: Cache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "bottleneck.finetuning.loading.dataset.load_network", lambda *_, **__: pytest.fail("loaded")
    )
    lines = [f"{path},same" for path in maps.images.path]
    (tmp_path / "labels.csv").write_text("\n".join(["path,label", *lines]) + "\n")
    with pytest.raises(LabelsError):
        tune(maps, labels=tmp_path / "labels.csv", options=QUICK)


def test_views_are_those_that_are_asked_for(maps: Cache) -> None:
    result = tune(maps, views=1, options=QUICK, layer=BOUNDARY)
    assert result.tail.features.views == 1
    assert result.heldout is not None
    assert (result.heldout.views, result.heldout.plain) == (1, None)


def test_no_views_are_not_the_default(maps: Cache, images: Path) -> None:
    for source, model in ((maps, None), (images, CHAIN)):
        with pytest.raises(InvalidOptionError, match="`views=0`: must be a whole number above 0"):
            tune(source, model=model, views=0, options=QUICK)
    with pytest.raises(InvalidOptionError, match="`memory=0`: must be at least 1"):
        tune(maps, memory=0, layer=BOUNDARY, options=QUICK)


def test_freed_memory_is_kept_while_it_trains_and_given_back(
    maps: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[str] = []

    @contextmanager
    def retained() -> Iterator[None]:
        order.append("kept")
        try:
            yield
        finally:
            order.append("given back")

    def train(*_: Any, **__: Any) -> Any:
        order.append("trained")
        raise TrainingError("it diverged")

    monkeypatch.setattr(tune_module, "retain_freed_memory", retained)
    monkeypatch.setattr(tune_module, "_tune", train)
    with pytest.raises(TrainingError):
        tune(maps, options=QUICK)
    assert order == ["kept", "trained", "given back"]
