import json
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import Normalizer, StandardScaler

from bottleneck.errors import HeadError, OutputExistsError, SpecMismatchError
from bottleneck.head import Head, require_new
from bottleneck.linear import one_row_per_class
from bottleneck.spec import Preprocess, Source, Spec

SPEC = Spec("net", "ab" * 32, Preprocess(), "pillow-1", "float32", True, "avg")


def a_head(**changes: Any) -> Head:
    random = np.random.default_rng(0)
    values: dict[str, Any] = {
        "clf": "softmax",
        "layer": "layer3",
        "classes": ["ants", "bées", "a|b"],
        "coef": random.normal(size=(3, 5)),
        "intercept": random.normal(size=3),
        "preprocess": "standardize",
        "mean": random.normal(size=5),
        "scale": random.uniform(1, 2, size=5),
        "spec": SPEC,
        "source": Source("net", "DEFAULT"),
        "record": {"c": 0.1},
    }
    return Head(**(values | changes))


def test_a_head_comes_back_as_it_was(tmp_path: Path) -> None:
    head = a_head()
    head.save(tmp_path / "head")
    again = Head.load(tmp_path / "head")
    for name in ("coef", "intercept", "mean", "scale"):
        np.testing.assert_array_equal(getattr(again, name), getattr(head, name))
    for name in ("clf", "layer", "classes", "preprocess", "spec", "source", "record"):
        assert getattr(again, name) == getattr(head, name)


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
    coef, intercept = one_row_per_class(pipeline[-1])
    # one_row_per_class knows our own class; scikit-learn's binary row counts whole, ours half
    if classes == 2:
        coef, intercept = coef / 2, intercept / 2
    scaler = transformer if preprocess == "standardize" else None
    head = a_head(
        classes=[str(k) for k in range(classes)],
        coef=coef,
        intercept=intercept,
        preprocess=preprocess,
        mean=scaler.mean_ if scaler else np.zeros(6),
        scale=scaler.scale_ if scaler else np.ones(6),
    )
    np.testing.assert_allclose(head.scores(X), pipeline.predict_proba(X), rtol=1e-5, atol=1e-9)


def test_svm_scores_are_margins_and_softmax_scores_add_up_to_one() -> None:
    codes = np.random.default_rng(2).normal(size=(4, 5)) * 1e3  # exponentials of these overflow
    svm = a_head(clf="svm")
    np.testing.assert_array_equal(svm.scores(codes), svm.margins(codes))
    probabilities = a_head().scores(codes)
    np.testing.assert_allclose(probabilities.sum(1), 1)
    assert np.isfinite(probabilities).all()


def test_codes_of_another_size_are_refused() -> None:
    with pytest.raises(HeadError, match=r"codes of size 5, got shape \(2, 6\)"):
        a_head().scores(np.zeros((2, 6)))


def test_another_spec_is_refused() -> None:
    other = Spec("net", "cd" * 32, Preprocess(), "pillow-1", "float32", True, "max")
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


def edited(tmp_path: Path, **changes: Any) -> Path:
    """A head whose JSON was changed after it was saved."""
    a_head().save(tmp_path / "head")
    from safetensors import safe_open

    with safe_open(tmp_path / "head", framework="numpy") as file:
        values = json.loads(file.metadata()["bottleneck"])
    values = {k: v for k, v in (values | changes).items() if v is not None}
    save_file(
        load_file(tmp_path / "head"),
        tmp_path / "edited",
        metadata={"bottleneck": json.dumps(values)},
    )
    return tmp_path / "edited"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"classes": ["a", "b"]}, "coef has shape .3, 5., must be .2, 5."),
        ({"classes": None}, "is not a head of this format"),
        ({"spec": {}}, "is not a head of this format"),
        ({"format_version": 2}, "version 2; this program reads"),
        ({"format": "other"}, "has format 'other'"),
        ({"preprocess": "whiten"}, "preprocess"),
        ({"clf": "forest"}, "clf"),
    ],
)
def test_heads_that_do_not_fit_together_are_refused(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(HeadError, match=message):
        Head.load(edited(tmp_path, **changes))


def test_files_that_are_no_heads_are_refused(tmp_path: Path) -> None:
    with pytest.raises(HeadError, match="no head at"):
        Head.load(tmp_path / "absent")
    save_file({"coef": np.zeros((2, 2))}, tmp_path / "other")
    for name, content in [("other", None), ("empty", b""), ("text", b"hello")]:
        if content is not None:
            (tmp_path / name).write_bytes(content)
        with pytest.raises(HeadError, match="is not a head"):
            Head.load(tmp_path / name)


@settings(max_examples=60, deadline=None)
@given(cut=st.floats(0, 1), flip=st.integers(0, 255), at=st.floats(0, 0.999))
def test_any_damage_is_a_head_or_a_head_error(
    tmp_path_factory: pytest.TempPathFactory, cut: float, flip: int, at: float
) -> None:
    folder = tmp_path_factory.mktemp("fuzz")
    a_head().save(folder / "head")
    content = bytearray((folder / "head").read_bytes())
    content[int(at * len(content))] ^= flip
    (folder / "head").write_bytes(content[: int(cut * len(content)) + 1])
    try:
        Head.load(folder / "head")
    except HeadError as error:
        assert "\n" not in str(error)


def test_what_is_in_the_way_stays_unless_asked(tmp_path: Path) -> None:
    path = tmp_path / "head"
    require_new(path, overwrite=False)
    path.touch()
    with pytest.raises(OutputExistsError, match="--overwrite"):
        require_new(path, overwrite=False)
    require_new(path, overwrite=True)
