import os
import pickle
import re
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file
from scipy.special import expit, softmax
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import Normalizer, StandardScaler

from bottleneck.errors import HeadError, OutputExistsError, SpecMismatchError
from bottleneck.exporting.export import FORMATS
from bottleneck.fitting.heads.head import Head
from bottleneck.fitting.loading.features import Features
from bottleneck.input_transform import InputTransform
from bottleneck.linear.calibration import Calibration
from bottleneck.linear.classifiers import expand_binary
from bottleneck.linear.scaling import FeatureScaler
from bottleneck.model_reference import ModelReference
from bottleneck.runtime.files import require_writable_output
from bottleneck.spec import Spec
from tests.helpers.classifier_files import rewrite

SPEC = Spec("net", "ab" * 32, InputTransform(decoder="pillow-1"), "float32", True, "avg")

PLATT = Calibration(np.array([2.0, 0.5, 0.0]), np.array([0.1, -3.0, 0.2]), independent=True)
TEMPERATURE = Calibration(np.full(3, 0.7), np.array([0.0, 0.1, -0.2]), independent=False)


def a_head(**changes: Any) -> Head:
    random = np.random.default_rng(0)
    values: dict[str, Any] = {
        "clf": "softmax",
        "features": Features(("layer3", "layer4")),
        "classes": ["ants", "bées", "wasps"],
        "coef": random.normal(size=(3, 5)),
        "intercept": random.normal(size=3),
        "scaler": FeatureScaler(
            "standardize", (2, 3), random.normal(size=5), random.uniform(1, 2, size=5)
        ),
        "calibration": None,
        "multilabel": False,
        "spec": SPEC,
        "reference": ModelReference("net", "DEFAULT"),
        "training_record": {"c": 0.1},
    }
    return Head(**(values | changes))


def plain_values(head: Head) -> dict[str, Any]:
    """Everything that a head holds, arrays with their type."""

    def array(values: Any) -> Any:
        return values.dtype.str, values.tolist()

    found, prepared, lines = vars(head).copy(), head.scaler, head.calibration
    found["scaler"] = prepared.name, prepared.sizes, array(prepared.mean), array(prepared.scale)
    if lines is not None:
        found["calibration"] = array(lines.slope), array(lines.offset), lines.independent
    return found | {"coef": array(head.coef), "intercept": array(head.intercept)}


def test_it_is_equal_to_itself_alone() -> None:
    head, other = a_head(), a_head()
    assert [other, head].index(head) == 1  # == of arrays is no truth value
    assert len({head, head, other}) == 2


def test_its_repr_is_short() -> None:
    head = a_head()
    assert repr(head) == f"<Head: {head.clf} on {head.features}, {len(head.classes)} classes>"


@pytest.mark.parametrize(
    ("calibration", "multilabel"),
    [(None, False), (TEMPERATURE, False), (None, True), (PLATT, True)],
)
@pytest.mark.parametrize("order", ["C", "F"])
def test_a_head_comes_back_as_it_was(
    calibration: Calibration | None, multilabel: bool, order: str, tmp_path: Path
) -> None:
    coef = np.asarray(a_head().coef, order="C" if order == "C" else "F")
    head = a_head(calibration=calibration, multilabel=multilabel, coef=coef)
    head.save(tmp_path / "head")
    assert plain_values(Head.load(tmp_path / "head")) == plain_values(head)
    lines = {"slope", "offset"} if calibration else set()
    assert load_file(tmp_path / "head").keys() == {"coef", "intercept", "mean", "scale"} | lines


@pytest.mark.parametrize(
    ("preprocess", "transformer"), [("standardize", StandardScaler()), ("l2", Normalizer())]
)
@pytest.mark.parametrize("classes", [2, 4])
def test_scores_are_those_of_scikit_learns_pipeline(
    preprocess: str, transformer: Any, classes: int
) -> None:
    random = np.random.default_rng(1)
    y = np.arange(80) % classes
    X = np.abs(random.normal(size=(80, 6)) + np.eye(6)[y]).astype(np.float32)
    X[0] = 0  # a code of length 0 has no direction
    pipeline = make_pipeline(transformer, LogisticRegression()).fit(X, y)
    coef, intercept = pipeline[-1].coef_, pipeline[-1].intercept_
    if classes == 2:
        coef, intercept = expand_binary("softmax", coef, intercept)
    scaler = transformer if preprocess == "standardize" else None
    head = a_head(
        classes=[str(k) for k in range(classes)],
        coef=coef,
        intercept=intercept,
        features=Features(("layer3",)),
        scaler=FeatureScaler(
            preprocess,
            (6,),
            scaler.mean_ if scaler else np.zeros(6),
            scaler.scale_ if scaler else np.ones(6),
        ),
        calibration=Calibration(np.ones(classes), np.zeros(classes), independent=False),
    )
    margins = head.decision_function(X)
    expected = pipeline.predict_proba(X)
    np.testing.assert_allclose(head.predict_scores(margins), expected, rtol=1e-5, atol=1e-9)
    assert head.predict_labels(margins) == [str(k) for k in pipeline.predict(X).tolist()]


def test_codes_are_prepared_in_double_precision() -> None:
    far = FeatureScaler("standardize", (5,), np.full(5, 1e6), np.full(5, 1e-3))
    codes = np.full((1, 5), 1e6, np.float32)
    codes[0, 0] += 0.0625  # the next number of single precision
    head = a_head(
        features=Features(("layer3",)), scaler=far, coef=np.eye(3, 5), intercept=np.zeros(3)
    )
    assert head.decision_function(codes).tolist() == [[62.5, 0, 0]]
    assert head.decision_function(codes).dtype == np.float64


MARGINS = st.lists(
    st.lists(st.floats(-1e4, 1e4), min_size=3, max_size=3), min_size=1, max_size=5
).map(np.array)


@given(margins=MARGINS)
def test_scores_are_margins_or_probabilities_of_straight_lines_through_them(
    margins: NDArray[np.float64],
) -> None:
    assert a_head().predict_scores(margins) is margins
    logits = TEMPERATURE.slope * margins + TEMPERATURE.offset
    found = a_head(calibration=TEMPERATURE).predict_scores(margins)
    np.testing.assert_allclose(found, softmax(logits, axis=1), rtol=1e-9, atol=1e-300)
    logits = PLATT.slope * margins + PLATT.offset
    found = a_head(calibration=PLATT, multilabel=True).predict_scores(margins)
    np.testing.assert_allclose(found, expit(logits), rtol=1e-9, atol=1e-300)


@given(margins=MARGINS)
def test_labels_are_the_highest_margin_or_all_above_zero(margins: NDArray[np.float64]) -> None:
    # Probabilities have no part in it: Platt's third line has the same one for every image.
    one = a_head(calibration=TEMPERATURE)
    several = a_head(calibration=PLATT, multilabel=True)
    for row, label, labels in zip(
        margins.tolist(), one.predict_labels(margins), several.predict_labels(margins), strict=True
    ):
        assert label == one.classes[row.index(max(row))]  # the first of equals
        given_names = [name for name, m in zip(one.classes, row, strict=True) if m > 0]
        assert labels.split("|") == (given_names or [""])


def test_labels_of_several_are_in_the_order_of_the_classes() -> None:
    head = a_head(multilabel=True)
    margins = np.array([[1.0, -1, 2], [0, 0, 0], [-1, 5, -1], [3, 2, 1]])
    assert head.predict_labels(margins) == ["ants|wasps", "", "bées", "ants|bées|wasps"]


def test_codes_of_another_size_are_refused() -> None:
    for shape in [(2, 6), (5,), (2, 5, 1)]:
        with pytest.raises(HeadError, match=f"codes of size 5, got shape {re.escape(str(shape))}"):
            a_head().decision_function(np.zeros(shape))


def test_codes_are_no_decision_values() -> None:
    head = a_head()
    for read in (head.predict_labels, head.predict_scores):
        for shape in [(2, 5), (3,), (0, 5)]:
            wrong = rf"values of shape \(n, 3\), got shape {re.escape(str(shape))}: its `decision_f"
            with pytest.raises(HeadError, match=wrong):
                read(np.zeros(shape))


def test_another_spec_is_refused() -> None:
    other = Spec("net", "cd" * 32, InputTransform(decoder="pillow-1"), "float32", True, "max")
    with pytest.raises(SpecMismatchError, match="pool is avg in the head and max in cache x"):
        a_head().require(other, where="cache x")


class Bomb:
    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.mark),)


def test_a_pickle_is_refused_and_does_not_run(tmp_path: Path) -> None:
    (tmp_path / "head.safetensors").write_bytes(pickle.dumps(Bomb(tmp_path / "ran")))
    with pytest.raises(HeadError, match=r"is not a head.*pickles"):
        Head.load(tmp_path / "head.safetensors")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("suffix", [*FORMATS, ".SKOPS"])
def test_an_export_is_not_a_head_and_the_head_is_asked_for(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"head{suffix}"
    path.write_bytes(b"PK\x03\x04 an archive")
    with pytest.raises(HeadError, match=r"is not a head.*export` writes.*give the head that was"):
        Head.load(path)


def edited(
    tmp_path: Path, changes: dict[str, Any], tensors: dict[str, torch.Tensor | None] | None = None
) -> Path:
    """A head whose JSON and tensors were changed after it was saved; None takes one away."""
    a_head(calibration=TEMPERATURE).save(tmp_path / "edited")
    return rewrite(tmp_path / "edited", tensors, **changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"classes": ["a", "b"]}, "coef has shape .3, 5., must be .2, 5."),
        ({"classes": None}, "is not a head of this format"),
        ({"spec": {}}, "is not a head of this format"),
        ({"format_version": 3}, "version 3; this program reads"),
        ({"format": "other"}, "has format 'other'"),
        ({"preprocess": "whiten"}, "preprocess"),
        ({"clf": "forest"}, "clf"),
        ({"multilabel": None}, "is not a head of this format.*multilabel"),
        ({"multilabel": 1}, "multilabel is 1, must be true or false"),
        ({"multilabel": "no"}, "multilabel is 'no', must be true or false"),
    ],
)
def test_heads_that_do_not_fit_together_are_refused(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(HeadError, match=message):
        Head.load(edited(tmp_path, changes))


F64 = torch.float64


@pytest.mark.parametrize(
    ("name", "tensor", "message"),
    [
        *((name, None, f"is not a head of this format.*{name}") for name in ("coef", "scale")),
        ("offset", None, "is not a head of this format.*offset"),
        ("slope", None, "slope"),
        ("slope", torch.ones(2, dtype=F64), "slope has shape .2,., must be .3,."),
        ("offset", torch.ones((), dtype=F64), "offset has shape .., must be .3,."),
        ("offset", torch.ones(1, dtype=F64), "offset has shape .1,., must be .3,."),
        ("intercept", torch.ones(2, dtype=F64), "intercept has shape .2,., must be .3,."),
        ("mean", torch.ones(3, dtype=F64), "mean has shape .3,., must be .5,."),
        ("scale", torch.ones(5, 1, dtype=F64), "scale has shape .5, 1., must be .5,."),
        *(
            (name, torch.ones(3, dtype=dtype), f"{name} is .*, must be float64")
            for name in ("intercept", "slope")
            for dtype in (torch.float32, torch.int64, torch.complex64)
        ),
        *(
            ("offset", torch.ones(3).to(dtype), "edited")
            for dtype in (torch.bfloat16, torch.float8_e4m3fn)
        ),
    ],
    ids=str,
)
def test_tensors_that_do_not_fit_together_are_refused(
    tmp_path: Path, name: str, tensor: torch.Tensor | None, message: str
) -> None:
    with pytest.raises(HeadError, match=message):
        Head.load(edited(tmp_path, {}, {name: tensor}))


def test_a_head_needs_no_calibration(tmp_path: Path) -> None:
    path = edited(tmp_path, {}, {"slope": None, "offset": None, "notes": torch.ones(2)})
    assert plain_values(Head.load(path)) == plain_values(a_head())


def test_files_that_are_no_heads_are_refused(tmp_path: Path) -> None:
    with pytest.raises(HeadError, match="no head at"):
        Head.load(tmp_path / "absent")
    (tmp_path / "spec.json").touch()
    with pytest.raises(HeadError, match=r"no head at .*, which is a cache: "):
        Head.load(tmp_path)
    save_file({"coef": np.zeros((2, 2))}, tmp_path / "other")
    for name, content in [("other", None), ("empty", b""), ("text", b"hello")]:
        if content is not None:
            (tmp_path / name).write_bytes(content)
        with pytest.raises(HeadError, match="is not a head"):
            Head.load(tmp_path / name)


def test_the_digest_is_of_the_file_with_zeros_in_its_place(tmp_path: Path) -> None:
    a_head(classes=["0" * 64, "ants", "wasps"]).save(tmp_path / "head")
    content = (tmp_path / "head").read_bytes()
    (digest,) = re.findall(rb'"sha256\\": \\"([0-9a-f]{64})\\"', content)
    assert sha256(content.replace(digest, b"0" * 64)).hexdigest() == digest.decode()
    assert Head.load(tmp_path / "head").classes[0] == "0" * 64


@settings(max_examples=100, deadline=None)
@given(at=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7), keep=st.floats(0, 1))
@example(at=0.999, bit=0, keep=1)  # of the last tensor's last number
def test_any_changed_bit_is_found(
    tmp_path_factory: pytest.TempPathFactory, at: float, bit: int, keep: float
) -> None:
    path = tmp_path_factory.mktemp("fuzz") / "head"
    head = a_head(calibration=PLATT, multilabel=True)
    head.save(path)
    content = bytearray(path.read_bytes())
    content[int(at * len(content))] ^= 1 << bit
    path.write_bytes(content[: int(keep * len(content)) + 1])
    try:
        found = Head.load(path)
    except HeadError as error:
        assert "\n" not in str(error)
    else:  # the name of the digest has changed: the file is one without
        assert plain_values(found) == plain_values(head)


@settings(max_examples=60, deadline=None)
@given(cut=st.floats(0, 1), flip=st.integers(0, 255), at=st.floats(0, 0.999))
def test_any_damage_of_a_file_without_a_digest_is_a_head_or_a_head_error(
    tmp_path_factory: pytest.TempPathFactory, cut: float, flip: int, at: float
) -> None:
    path = tmp_path_factory.mktemp("fuzz") / "head"
    a_head(calibration=PLATT, multilabel=True).save(path)
    content = bytearray(rewrite(path).read_bytes())
    content[int(at * len(content))] ^= flip
    path.write_bytes(content[: int(cut * len(content)) + 1])
    try:
        head = Head.load(path)
    except HeadError as error:
        assert "\n" not in str(error)
    else:
        with np.errstate(all="ignore"):  # bytes of a number that were changed are another number
            margins = head.decision_function(np.ones((1, 5)))
            assert head.predict_scores(margins).dtype == np.float64
            assert isinstance(head.predict_labels(margins)[0], str)


def test_an_existing_file_is_kept_without_overwrite(tmp_path: Path) -> None:
    path = tmp_path / "head"
    require_writable_output(path, overwrite=False)
    path.touch()
    with pytest.raises(OutputExistsError, match="`overwrite`"):
        require_writable_output(path, overwrite=False)
    require_writable_output(path, overwrite=True)
