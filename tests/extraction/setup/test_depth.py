from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from bottleneck.cache.store import Cache
from bottleneck.data.images import open_images
from bottleneck.errors import InvalidOptionError, SpecMismatchError
from bottleneck.extraction.extract import extract
from bottleneck.extraction.plan import plan
from bottleneck.extraction.result import ExtractionProgress
from bottleneck.extraction.setup.depth import choose_range, depth_notes
from bottleneck.fitting.fit import fit
from bottleneck.fitting.selection.options import SearchOptions
from bottleneck.input_transform import InputTransform
from bottleneck.prediction.evaluate import evaluate
from bottleneck.prediction.predict import predict
from tests.helpers.fixture_types import Extract
from tests.helpers.networks import SMALL
from tests.helpers.options import grouped
from tests.helpers.photographs import write_photographs


def write_twelve_bits(folder: Path) -> Path:
    """Two classes of 16-bit images with 12 bits in them: left or right is bright."""
    for k, label in enumerate(("left", "right")):
        (folder / label).mkdir(parents=True)
        for i in range(6):
            pixels = np.random.default_rng(10 * k + i).integers(0, 1000, (40, 40))
            pixels[:, 20 * k : 20 * k + 20] += 3000
            Image.fromarray(pixels.astype(np.uint16)).save(folder / label / f"{i}.png")
    return folder


@pytest.fixture
def scans(tmp_path: Path) -> Path:
    return write_twelve_bits(tmp_path / "scans")


def notes_of(run: Callable[..., Any], *arguments: Any, **options: Any) -> tuple[str, ...]:
    """The notes with which a run begins."""
    seen: list[ExtractionProgress] = []
    run(*arguments, on_progress=seen.append, **options)
    assert all(progress.notes == seen[0].notes for progress in seen)
    return seen[0].notes


def codes_of(cache: Cache) -> Any:
    return cache.read_codes("layer2", np.arange(len(cache.images)))


def test_twelve_bits_in_sixteen_are_noticed_with_the_range_that_serves(
    scans: Path, extract_tiny: Extract
) -> None:
    (note,) = notes_of(extract_tiny, scans)
    assert note.startswith("WARNING: 12 of 12 images tried are nearly black by the high byte")
    limits = tuple(float(part) for part in note.split("`range=")[1].split("`")[0].split(","))
    assert 0 <= limits[0] < 10
    assert 3990 < limits[1] < 4000


def test_images_that_need_no_range_have_no_note(
    photos: Path, tmp_path: Path, extract_tiny: Extract
) -> None:
    assert notes_of(extract_tiny, photos) == ()
    deep = np.random.default_rng(0).integers(0, 65536, (40, 40)).astype(np.uint16)
    (tmp_path / "deep").mkdir()
    Image.fromarray(deep).save(tmp_path / "deep" / "deep.png")
    assert depth_notes(open_images(tmp_path / "deep"), InputTransform()) == ()


def test_floating_point_pixels_are_noticed(tmp_path: Path) -> None:
    values = np.linspace(-2, 2, 100, dtype=np.float32).reshape(10, 10)
    Image.fromarray(values).save(tmp_path / "a.tif")
    (note,) = depth_notes(open_images(tmp_path), InputTransform())
    assert note.startswith("WARNING: 1 of 1 images tried have floating-point pixels, which are")
    assert "`range=-2,2`" in note
    Image.fromarray(values / 20 + 1e5).save(tmp_path / "a.tif")
    (note,) = depth_notes(open_images(tmp_path), InputTransform())
    assert "`range=99999.8984,100000.102`" in note  # those of float32


def test_a_range_that_is_used_is_said(scans: Path, extract_tiny: Extract) -> None:
    (note,) = notes_of(extract_tiny, scans, transform=SMALL | {"range": (0, 4095)})
    assert note == "pixels deeper than 8 bits: 0 is black and 4095 white (`range`)"


def test_codes_of_a_range_are_those_of_images_that_were_spread_by_hand(
    scans: Path, tmp_path: Path, extract_tiny: Extract
) -> None:
    shallow = tmp_path / "shallow"
    for path in scans.rglob("*.png"):
        target = shallow / path.relative_to(scans)
        target.parent.mkdir(parents=True, exist_ok=True)
        values = np.asarray(Image.open(path)).astype(np.float64)
        Image.fromarray(np.rint(values.clip(0, 4095) * 255 / 4095).astype(np.uint8)).save(target)
    spread = extract_tiny(scans, transform=SMALL | {"range": (0, 4095)}).cache
    by_hand = extract_tiny(shallow, tmp_path / "by hand").cache
    np.testing.assert_array_equal(codes_of(spread), codes_of(by_hand))
    black = extract_tiny(scans, tmp_path / "black").cache
    assert np.abs(codes_of(black) - codes_of(by_hand)).max() > 0.01


def test_auto_is_recorded_as_numbers_and_found_again_in_the_cache(
    scans: Path, tmp_path: Path, extract_tiny: Extract
) -> None:
    auto = SMALL | {"range": "auto"}
    first = extract_tiny(scans, transform=auto).cache
    limits = first.spec.transform.range
    assert limits is not None
    assert limits == pytest.approx((1, 3998), abs=4)
    brighter = np.full((40, 40), 60_000, dtype=np.uint16)
    for i in range(5):
        Image.fromarray(brighter).save(scans / "left" / f"brighter{i}.png")
    again = extract_tiny(scans, transform=auto)
    assert (again.cache.spec.transform.range, again.changes.added) == (limits, 5)
    other = extract_tiny(scans, tmp_path / "other", transform=auto).cache
    assert other.spec.transform.range != limits
    with pytest.raises(SpecMismatchError, match=r"range is \(.*\) in cache .* and None in this"):
        extract_tiny(scans)


def test_auto_is_refused_for_a_cache_without_a_range(scans: Path, extract_tiny: Extract) -> None:
    extract_tiny(scans)
    with pytest.raises(SpecMismatchError, match=r"range is None in cache .* and \(.*\) in this"):
        extract_tiny(scans, transform=SMALL | {"range": "auto"})


def test_auto_without_deep_images_is_refused(photos: Path, extract_tiny: Extract) -> None:
    with pytest.raises(InvalidOptionError, match="none of 36 images that were tried is deeper"):
        extract_tiny(photos, transform=SMALL | {"range": "auto"})
    assert choose_range({"crop": 32}, open_images(photos), None) == {"crop": 32}


@pytest.mark.parametrize("fit_", ["squash", pytest.param("pad", marks=pytest.mark.slow)])
def test_prediction_and_evaluation_follow_the_spec(
    fit_: str, scans: Path, extract_tiny: Extract
) -> None:
    transform = SMALL | {"range": (0, 4095), "fit": fit_}
    cache = extract_tiny(scans, transform=transform).cache
    head = fit(cache, "softmax", search=SearchOptions(c=[1.0], cv=0)).head
    assert (head.spec.transform.fit, head.spec.transform.range) == (fit_, (0.0, 4095.0))
    cpu = grouped({"device": "cpu"})
    paths = [scans / path for path in cache.images.path]
    margins = head.decision_function(codes_of(cache))
    expected = head.predict_scores(margins)
    for row, prediction in enumerate(predict(head, paths, **cpu)):
        scores = [prediction.scores[name] for name in head.classes]
        np.testing.assert_allclose(scores, expected[row], rtol=1e-4)
    on_images, on_cache = evaluate(head, scans, **cpu), evaluate(head, cache)
    assert on_images.to_dict() == on_cache.to_dict()


def test_a_network_says_its_own_fit(tmp_path: Path, photos: Path, extract_tiny: Extract) -> None:
    (tmp_path / "own.py").write_text(
        "from torch import nn\n"
        "def build():\n"
        "    network = nn.Sequential(nn.Conv2d(3, 4, 3))\n"
        "    network.preprocess = {'crop': 32, 'fit': 'squash', 'range': (0, 1000)}\n"
        "    return network\n"
    )
    own = {"model": f"{tmp_path / 'own.py'}:build", "layers": ["0"], "transform": None}
    spec = extract_tiny(photos, **own).cache.spec
    assert (spec.transform.fit, spec.transform.range) == ("squash", (0.0, 1000.0))


# Large images


@pytest.fixture
def large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three photographs, and two whose pixels are above and far above the limit."""
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10_000)
    write_photographs(tmp_path / "large" / "ants", 3, label="ants")
    for name, size in (("once", (120, 100)), ("thrice", (300, 100))):
        Image.new("RGB", size, "red").save(tmp_path / "large" / "ants" / f"{name}.png")
    return tmp_path / "large"


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_a_large_image_is_rejected_and_read_with_the_option_that_the_reason_names(
    large: Path, extract_tiny: Extract
) -> None:
    first = extract_tiny(large)
    assert {first.cache.images.path[row]: why for row, why in first.rejected.items()} == {
        "ants/once.png": "cannot be decoded: 120 × 100 pixels are more than 10000: "
        "`max_pixels=12000` allows it; for a cache, `retry_rejected` tries it again",
        "ants/thrice.png": "cannot be decoded: 30000 pixels are more than 10000: "
        "`max_pixels=30000` allows it; for a cache, `retry_rejected` tries it again",
    }
    again = extract_tiny(large, max_pixels=30_000, retry_rejected=True)
    assert (again.rejected, again.rows) == ({}, 5)
    assert Image.MAX_IMAGE_PIXELS == 10_000
    assert extract_tiny(large).rows == 0  # the limit is no part of the spec


def test_the_limit_can_be_lowered(photos: Path, extract_tiny: Extract) -> None:
    assert len(extract_tiny(photos, max_pixels=10).rejected) == 36
    with pytest.raises(InvalidOptionError, match="max_pixels"):
        extract_tiny(photos, max_pixels=0)


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_plan_and_predict_have_the_limit_too(large: Path, extract_tiny: Extract) -> None:
    options: dict[str, Any] = {"layers": ["0"], "transform": SMALL}
    compute = grouped({"device": "cpu", "max_pixels": 30_000})
    from torch import nn

    network = nn.Sequential(nn.Conv2d(3, 4, 3))
    assert plan(large, model=network, **options, **compute).rows == 5
    cache = extract(large, large.parent / "large.cache", model=network, **options, **compute).cache
    assert cache.rejected() == {}


# Only the options of the command line, which say the same


def test_the_command_line_prints_the_range_too(run: Any, scans: Path, tmp_path: Path) -> None:
    from tests.helpers.cli import TINY

    first = run("extract", scans, "-o", "black", *TINY)
    assert "WARNING: 12 of 12 images tried are nearly black" in first.stderr
    assert "--range " in first.stderr
    result = run("extract", scans, "-o", "auto", *TINY, "--range", "auto", "--fit", "pad")
    assert result.exit_code == 0, result.output
    assert "is black and" in result.stderr
    from bottleneck.cache.store import open_cache

    transform = open_cache(tmp_path / "auto").spec.transform
    assert (transform.fit, len(transform.range or ())) == ("pad", 2)
    wrong = run("extract", scans, "-o", "c", *TINY, "--range", "5,1")
    assert "--range 5,1: must be two numbers, the first below the second" in wrong.stderr
