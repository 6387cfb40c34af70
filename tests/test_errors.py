import pickle
from typing import Any

import numpy as np
import pytest

import bottleneck as bn
from bottleneck import errors
from bottleneck.errors import (
    BottleneckError,
    InvalidOptionError,
    UnknownNameError,
    format_error,
    full_message,
)


def test_every_error_is_ours_and_a_builtin() -> None:
    kinds = [
        value
        for value in vars(errors).values()
        if isinstance(value, type) and issubclass(value, BottleneckError)
    ]
    assert len(kinds) > 10
    for kind in kinds:
        builtins = [base for base in kind.__mro__ if base.__module__ == "builtins"]
        assert kind is BottleneckError or builtins[0] is not Exception, kind
        assert kind.exit_code in (1, 2)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("fcc", "did you mean fc?"),
        ("layer", "did you mean layer3, layer2 or layer1?"),
        ("qqq", "there is layer1, layer2, layer3, fc"),
    ],
)
def test_a_misspelt_name_is_answered_with_the_nearest_or_all(name: str, expected: str) -> None:
    error = UnknownNameError("layer", name, ["layer1", "layer2", "layer3", "fc"])
    assert str(error) == f"unknown layer {name!r}: {expected}"


def test_a_name_that_goes_on_as_the_given_one_is_suggested_first() -> None:
    error = UnknownNameError("layer", "f.11", ["f.10", "f.12", "f.1", "f.11@none"])
    assert str(error).endswith("did you mean f.11@none, f.1 or f.12?")


def test_where_there_are_no_names_none_is_suggested() -> None:
    assert str(UnknownNameError("layer", "fc", [])).endswith("'fc': there is none")
    of_python: Any = 3
    assert str(UnknownNameError("layer", of_python, ["fc"])) == "unknown layer 3: there is fc"


def test_a_value_of_many_lines_is_shown_on_one_and_a_long_one_cut() -> None:
    error = InvalidOptionError("rows", np.zeros((2, 1)), "ascending")
    assert str(error) == "`rows=array([[0.], [0.]])`: must be ascending"
    long = InvalidOptionError("model", "x" * 1000, "short")
    assert str(long) == f"`model='{'x' * 299}…`: must be short" and long.value == "x" * 1000


def test_the_owner_of_the_names_is_in_the_message_only() -> None:
    error = UnknownNameError("layer", "fcc", ["fc"], of="photos.cache")
    assert str(error).startswith("unknown layer of photos.cache 'fcc': ")
    assert (error.parameter, error.value, error.allowed) == ("layer", "fcc", "fc")


def test_a_long_list_of_names_is_cut() -> None:
    error = UnknownNameError("model", "?", [f"m{i}" for i in range(50)])
    assert "m11, … (50 in all)" in str(error)


@pytest.mark.parametrize("by_dask", [False, True])  # which pickles errors in its own way
def test_an_error_from_another_process_says_the_same(by_dask: bool) -> None:
    if by_dask:
        pytest.importorskip("distributed")
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type)]
    found: list[BottleneckError] = [
        kind("damaged: mend it")
        for kind in kinds
        if issubclass(kind, BottleneckError) and kind not in (UnknownNameError, InvalidOptionError)
    ]
    found += [UnknownNameError("layer", "fcc", ["fc"]), InvalidOptionError("cv", 1, "at least 2")]
    found += [BottleneckError("no head", parameter="head", value="a", allowed="a file", hint="fit")]
    for error in found:
        again = pickle.loads(pickle.dumps(error))
        assert type(again) is type(error)
        assert str(again) == str(error)
        assert vars(again) == vars(error)
        assert again.exit_code == error.exit_code


def test_an_error_has_what_its_message_says() -> None:
    error = InvalidOptionError("batch_size", 0, "at least 1", "leave it out")
    assert str(error) == "`batch_size=0`: must be at least 1: leave it out"
    assert (error.parameter, error.value, error.allowed) == ("batch_size", 0, "at least 1")
    assert error.hint == "leave it out"


def test_a_librarys_message_is_one_line_without_colours_and_a_long_one_cut() -> None:
    error = RuntimeError("\x1b[31mno\x1b[0m\n  kernel" + "!" * 1000)
    assert format_error(error) == f"RuntimeError: no kernel{'!' * 291}…"
    assert full_message(error) == f"no kernel{'!' * 1000}"


def test_how_alike_suggestions_are_can_be_said() -> None:
    known = ["evaluate", "audit"]
    assert str(UnknownNameError("command", "evalute", known)).endswith("mean evaluate or audit?")
    error = UnknownNameError("command", "evalute", known, likeness=0.7)
    assert str(error) == "unknown command 'evalute': did you mean evaluate?"


_MODEL: dict[str, Any] = {"model": "squeezenet1_1", "layers": ["features.12"]}


@pytest.mark.parametrize(
    ("verb", "arguments", "options", "words"),
    [
        (
            "extract",
            ("absent", "out"),
            _MODEL | {"storage": {"dtype": "float32"}},
            "StorageOptions(dtype='float32')",
        ),
        (
            "extract",
            ("absent", "out"),
            _MODEL | {"compute": {"device": "cpu"}},
            "ComputeOptions(device='cpu')",
        ),
        ("extract", ("absent", "out"), _MODEL | {"run": {"redo": ()}}, "RunOptions(redo=())"),
        ("plan", ("absent",), _MODEL | {"storage": {"force": True}}, "StorageOptions(force=True)"),
        ("plan", ("absent",), _MODEL | {"compute": {"workers": 2}}, "ComputeOptions(workers=2)"),
        ("repair", ("absent", "absent"), {"compute": {"workers": 2}}, "ComputeOptions(workers=2)"),
        ("fit", ("absent", "svm"), {"search": {"c": (1,)}}, "SearchOptions(c=(1,))"),
        ("sweep", ("absent",), {"search": {"cv": 3}}, "SearchOptions(cv=3)"),
        ("tune", ("absent",), {"options": {"epochs": 3}}, "TuneOptions(epochs=3)"),
        ("predict", ("absent", "absent"), {"compute": {"workers": 2}}, "ComputeOptions(workers=2)"),
        (
            "evaluate",
            ("absent", "absent"),
            {"compute": {"workers": 2}},
            "ComputeOptions(workers=2)",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_every_verb_says_which_class_its_options_are_of(
    verb: str, arguments: tuple[str, ...], options: dict[str, Any], words: str
) -> None:
    with pytest.raises(InvalidOptionError) as caught:
        getattr(bn, verb)(*arguments, **options)
    kind = words.partition("(")[0]
    assert str(caught.value).endswith(f": must be a {kind}, such as {words}")


def test_the_problem_is_the_message_without_the_next_step() -> None:
    error = BottleneckError("no head at a: b", hint="`bottleneck.fit` makes one")
    assert error.problem == "no head at a: b"
    assert BottleneckError("no head at a: b").problem == "no head at a: b"
    assert pickle.loads(pickle.dumps(error)).problem == "no head at a: b"
