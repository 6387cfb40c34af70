import dataclasses
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from scipy.special import expit, softmax

from bottleneck.backbones.inference import forward_choice
from bottleneck.backbones.inference.runner import BatchRunner
from bottleneck.cache.store import open_cache
from bottleneck.data.images import open_images
from bottleneck.errors import ImagesNotFoundError, InvalidOptionError, SpecMismatchError
from bottleneck.extraction.options import ComputeOptions
from bottleneck.fitting.fit import fit
from bottleneck.fitting.heads.head import Head
from bottleneck.fitting.selection.options import SearchOptions
from bottleneck.linear.calibration import Calibration
from bottleneck.prediction.predict import predict

CPU = ComputeOptions(device="cpu")

TEMPERATURE = Calibration(np.full(3, 0.3), np.zeros(3), independent=False)
PLATT = Calibration(np.array([0.3, 2.0, 0.0]), np.array([-1.0, 0.5, 3.0]), independent=True)


@pytest.mark.parametrize("calibration", [TEMPERATURE, PLATT, None], ids=["softmax", "platt", "-"])
def test_predictions_are_the_heads_on_the_cached_codes(
    calibration: Calibration | None, head: Head, cache: Path, photos: Path
) -> None:
    several = calibration is PLATT
    head = dataclasses.replace(head, calibration=calibration, multilabel=several)
    found = list(predict(head, [str(photos / "val")], compute=CPU))
    with h5py.File(cache / "codes.h5") as index:
        codes = index["layer2"][24:].astype(np.float64)  # train comes before val
    prepared = (codes - head.scaler.mean) / head.scaler.scale
    margins = prepared @ head.coef.T + head.intercept
    expected = margins
    if calibration is not None:
        logits = calibration.slope * margins + calibration.offset
        expected = expit(logits) if several else softmax(logits, axis=1)
    scores = np.array([[p.scores[name] for name in head.classes] for p in found])
    np.testing.assert_allclose(scores, expected, rtol=1e-4, atol=1e-6)
    labels = [p.label.split("|") for p in found]
    if several:  # those of margins above 0, whatever the probabilities
        assert labels == [[head.classes[k] for k in np.flatnonzero(row > 0)] for row in margins]
        assert [row.tolist() for row in scores.round(3)[:, 2:]] == [[0.953]] * 12
    else:
        assert labels == [[head.classes[k]] for k in margins.argmax(axis=1)]
    assert [p.path.name for p in found] == sorted(p.path.name for p in found)
    for p in found:
        assert list(p.scores.values()) == sorted(p.scores.values(), reverse=True)


def test_images_that_the_network_gets_as_black_are_warned_of(head: Head, tmp_path: Path) -> None:
    for name, most in (("black.png", 4000), ("bright.png", 65_000)):
        pixels = np.random.default_rng(0).integers(0, most, (40, 40)).astype(np.uint16)
        Image.fromarray(pixels).save(tmp_path / name)
    (note,) = predict(head, [str(tmp_path / "black.png")], compute=CPU).notes
    assert note.startswith(
        "WARNING: 1 of 1 images tried are nearly black by the high byte of their"
    )
    assert note.endswith("would serve them, for a head that is fitted to images extracted with it")
    assert not predict(head, [str(tmp_path / "bright.png")], compute=CPU).notes


def test_an_image_may_have_none_of_several_labels_or_all(head: Head, photos: Path) -> None:
    for intercept, label in [(-1e3, ""), (1e3, "ants|bees|wasps")]:
        every = dataclasses.replace(head, multilabel=True, intercept=np.full(3, intercept))
        found = list(predict(every, [str(photos / "val" / "ants")], compute=CPU))
        assert [(p.label, p.reason, len(p.scores)) for p in found] == [(label, "", 3)] * 4


def test_a_bad_image_is_named_and_the_others_are_predicted(head: Head, photos: Path) -> None:
    folder = photos / "val" / "ants"
    (folder / "ants001.png").write_bytes(b"no image")
    found = list(predict(head, [str(folder)], compute=ComputeOptions(device="cpu", batch_size=2)))
    assert [bool(p.reason) for p in found] == [False, True, False, False]
    assert (found[1].label, found[1].scores) == ("", {})
    assert [p.label for p in found if not p.reason] == ["ants"] * 3


def test_another_network_is_refused(head: Head, photos: Path, tmp_path: Path) -> None:
    import torch

    from tests.helpers.tiny_networks import Plain

    torch.manual_seed(77)
    torch.save(Plain().state_dict(), tmp_path / "other.pth")
    with pytest.raises(SpecMismatchError, match=r"weights_digest is .* in the head"):
        list(predict(head, [str(photos)], weights=str(tmp_path / "other.pth")))


def test_a_batch_goes_through_the_head_at_once(
    head: Head, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = []
    decide = Head.decision_function

    def counted(self: Head, codes: NDArray[Any]) -> NDArray[np.float64]:
        sizes.append(len(codes))
        return decide(self, codes)

    monkeypatch.setattr(Head, "decision_function", counted)
    assert (
        len(list(predict(head, photos / "val", compute=ComputeOptions(device="cpu", batch_size=5))))
        == 12
    )
    assert sizes == [5, 5, 2]


def test_a_batch_without_any_good_image_is_no_error(head: Head, tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"")
    (prediction,) = predict(head, tmp_path / "a.jpg", compute=CPU)
    assert (prediction.label, prediction.scores) == ("", {})
    assert "the file is empty" in prediction.reason


def test_the_head_may_be_a_path_and_the_images_of_every_kind(
    head: Head, photos: Path, tmp_path: Path
) -> None:
    head.save(tmp_path / "new.head")
    (photos / "list.csv").write_text("path,label\nval/bees/bees002.jpg,\nval/bees/bees001.png,x\n")
    images: list[Path | str] = [
        photos / "val" / "ants" / "ants001.png",
        str(photos / "val" / "wasps"),
        photos / "list.csv",
        str(photos / "val" / "ants" / "*3.png"),
    ]
    predictions = list(predict(str(tmp_path / "new.head"), images, compute=CPU))
    wasps = [f"wasps00{i}.{'png' if i % 2 else 'jpg'}" for i in range(4)]
    names = ["ants001.png", *wasps, "bees002.jpg", "bees001.png", "ants003.png"]
    assert [prediction.path.name for prediction in predictions] == names
    assert [prediction.label[:4] for prediction in predictions] == [name[:4] for name in names]


def test_wrong_arguments_are_refused_before_the_first_prediction(head: Head, photos: Path) -> None:
    with pytest.raises(ImagesNotFoundError, match="absent"):
        predict(head, [str(photos), "absent.jpg"])
    with pytest.raises(InvalidOptionError, match="batch_size=0"):
        predict(head, photos, compute=ComputeOptions(batch_size=0))


def test_images_may_be_a_source(head: Head, photos: Path, cache: Path) -> None:
    images = open_images(photos / "val")
    expected = list(predict(head, photos / "val", compute=CPU))
    assert list(predict(head, images, compute=CPU)) == expected


# Several layers and views


@pytest.fixture(scope="module")
def head_of_views(viewed: Path) -> Head:
    """A head on both layers of `viewed`, in its three views."""
    search = SearchOptions(c=(0.1,), cv=0)
    return fit(open_cache(viewed), "softmax", layers="all", search=search).head


def views_of_rows(cache: Path, rows: slice) -> NDArray[np.float64]:
    """Codes of both layers side by side, shape (n, views, d), with h5py alone."""
    with h5py.File(cache / "codes.h5") as index:
        layers = [index[f"{layer}:views"][rows] for layer in ("layer2", "layer3")]
    return np.concatenate(layers, axis=2).astype(np.float64)


@pytest.mark.parametrize("views", [None, 1, 2])
def test_layers_and_views_are_those_of_the_cache(
    head_of_views: Head,
    viewed: Path,
    photos: Path,
    views: int | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    head = head_of_views
    assert (head.features.layers, head.features.views) == (("layer2", "layer3"), 3)
    passes = []
    run = BatchRunner.run

    def counted(self: BatchRunner, images: Any) -> Any:
        passes.append(len(images))
        return run(self, images)

    monkeypatch.setattr(BatchRunner, "run", counted)
    found = list(predict(head, [str(photos / "val")], views=views, compute=CPU))
    assert sum(passes) == 12 * (views or 3)  # once for each view, whatever the layers
    codes = views_of_rows(viewed, slice(24, None))[:, : views or 3]
    prepared = (codes - head.scaler.mean) / head.scaler.scale / np.sqrt(2)
    margins = (prepared @ head.coef.T + head.intercept).mean(axis=1)
    scores = np.array([[p.scores[name] for name in head.classes] for p in found])
    np.testing.assert_allclose(scores, softmax(margins, axis=1), rtol=1e-3, atol=1e-5)
    with pytest.raises(InvalidOptionError, match="`views=0`"):
        predict(head, [str(photos / "val")], views=0)


def test_a_bad_image_of_several_views_is_named(head_of_views: Head, photos: Path) -> None:
    (photos / "val" / "ants" / "ants001.png").write_bytes(b"no image")
    options = ComputeOptions(device="cpu", batch_size=2)
    found = list(predict(head_of_views, [str(photos / "val" / "ants")], compute=options))
    assert [bool(p.reason) for p in found] == [False, True, False, False]


def test_views_are_no_use_to_a_head_that_was_trained_without(head: Head, photos: Path) -> None:
    with pytest.raises(InvalidOptionError, match="`views=2`: must be 1: there are no views"):
        predict(head, [str(photos / "val")], views=2, compute=CPU)


def test_a_few_images_are_classified_without_a_traced_network(
    head: Head, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    many = list(predict(head, [str(photos / "train"), str(photos / "val")], compute=CPU))
    traced: list[object] = []
    monkeypatch.setattr(forward_choice, "trace", lambda *_, **__: traced.append(1))
    few = list(predict(head, [str(many[0].path), str(many[-1].path)], compute=CPU))
    assert not traced
    for found, expected in zip(few, (many[0], many[-1]), strict=True):
        assert found.label == expected.label
        assert found.scores == pytest.approx(expected.scores, rel=1e-4, abs=1e-6)
