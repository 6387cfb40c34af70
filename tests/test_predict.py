from pathlib import Path

import h5py
import numpy as np
import pytest

from bottleneck.errors import ImagesNotFoundError, SpecMismatchError
from bottleneck.head import Head
from bottleneck.predict import expand, predict


def test_predictions_are_the_heads_on_the_cached_codes(
    head: Head, cache: Path, photos: Path
) -> None:
    found = list(predict(head, [str(photos / "val")], device="cpu"))
    with h5py.File(cache / "codes.h5") as index:
        codes = index["layer2"][24:]  # train comes before val
    expected = head.scores(codes)
    scores = np.array([[p.scores[name] for name in head.classes] for p in found])
    np.testing.assert_allclose(scores, expected, rtol=1e-4, atol=1e-6)
    assert [p.label for p in found] == [head.classes[k] for k in expected.argmax(1)]
    assert [p.path.name for p in found] == sorted(p.path.name for p in found)
    for p in found:
        assert list(p.scores.values()) == sorted(p.scores.values(), reverse=True)


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
    from tiny_networks import Plain

    torch.manual_seed(77)
    torch.save(Plain().state_dict(), tmp_path / "other.pth")
    with pytest.raises(SpecMismatchError, match=r"weights_digest is .* in the head"):
        list(predict(head, [str(photos)], weights=str(tmp_path / "other.pth")))
