import dataclasses
from pathlib import Path

import h5py
import numpy as np
import pytest
from scipy.special import expit, softmax

from bottleneck.errors import ImagesNotFoundError, SpecMismatchError
from bottleneck.fitting.head import Head
from bottleneck.linear.calibration import Calibration
from bottleneck.prediction.predict import expand, predict

TEMPERATURE = Calibration(np.full(3, 0.3), np.zeros(3), independent=False)
PLATT = Calibration(np.array([0.3, 2.0, 0.0]), np.array([-1.0, 0.5, 3.0]), independent=True)


@pytest.mark.parametrize("calibration", [TEMPERATURE, PLATT, None], ids=["softmax", "platt", "-"])
def test_predictions_are_the_heads_on_the_cached_codes(
    calibration: Calibration | None, head: Head, cache: Path, photos: Path
) -> None:
    several = calibration is PLATT
    head = dataclasses.replace(head, calibration=calibration, multilabel=several)
    found = list(predict(head, [str(photos / "val")], device="cpu"))
    with h5py.File(cache / "codes.h5") as index:
        codes = index["layer2"][24:].astype(np.float64)  # train comes before val
    prepared = (codes - head.preprocessing.mean) / head.preprocessing.scale
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


def test_an_image_may_have_none_of_several_labels_or_all(head: Head, photos: Path) -> None:
    for intercept, label in [(-1e3, ""), (1e3, "ants|bees|wasps")]:
        every = dataclasses.replace(head, multilabel=True, intercept=np.full(3, intercept))
        found = list(predict(every, [str(photos / "val" / "ants")], device="cpu"))
        assert [(p.label, p.reason, len(p.scores)) for p in found] == [(label, "", 3)] * 4


def test_a_bad_image_is_named_and_the_others_are_predicted(head: Head, photos: Path) -> None:
    folder = photos / "val" / "ants"
    (folder / "ants001.png").write_bytes(b"no image")
    found = list(predict(head, [str(folder)], device="cpu", batch_size=2))
    assert [bool(p.reason) for p in found] == [False, True, False, False]
    assert (found[1].label, found[1].scores) == ("", {})
    assert [p.label for p in found if not p.reason] == ["ants"] * 3


def test_names_stand_for_files_folders_and_patterns(photos: Path, tmp_path: Path) -> None:
    folder = photos / "val" / "ants"
    files = sorted(folder.iterdir())
    assert expand(str(files[0])) == [files[0]]
    assert expand(str(folder)) == files
    assert expand(str(folder / "*.png")) == [path for path in files if path.suffix == ".png"]
    assert expand(str(photos / "val" / "**" / "ants000.jpg")) == [folder / "ants000.jpg"]
    odd = tmp_path / "a[1].jpg"  # a file's own name goes before a pattern
    odd.touch()
    assert expand(str(odd)) == [odd]
    for absent in ("absent.jpg", "absent/*.jpg"):
        with pytest.raises(ImagesNotFoundError, match="absent"):
            expand(absent)


def test_another_network_is_refused(head: Head, photos: Path, tmp_path: Path) -> None:
    import torch

    from tests.helpers.tiny_networks import Plain

    torch.manual_seed(77)
    torch.save(Plain().state_dict(), tmp_path / "other.pth")
    with pytest.raises(SpecMismatchError, match=r"weights_digest is .* in the head"):
        list(predict(head, [str(photos)], weights=str(tmp_path / "other.pth")))
