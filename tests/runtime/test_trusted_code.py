from pathlib import Path

import pytest

from bottleneck.errors import UntrustedCodeError
from bottleneck.extraction.options import ComputeOptions
from bottleneck.fitting.fit import fit
from bottleneck.fitting.selection.options import SearchOptions
from bottleneck.prediction.predict import predict
from bottleneck.runtime.trusted_code import require_trusted_code, trust_code
from tests.helpers.fixture_types import Extract

CPU = ComputeOptions(device="cpu")


@pytest.fixture(autouse=True)
def a_new_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path / "state" / "bottleneck" / "named-code"


@pytest.fixture
def code(tmp_path: Path) -> Path:
    file = tmp_path / "evil.py"
    file.write_text("raise SystemExit('it was run')")
    return file


def test_code_is_refused_until_the_user_gave_it(code: Path) -> None:
    model = f"{code}:build"
    with pytest.raises(
        UntrustedCodeError, match=r"the head names .*evil\.py:build.*`model="
    ) as caught:
        require_trusted_code(model, where="the head")
    assert caught.value.exit_code == 2
    trust_code(model)
    assert require_trusted_code(model, where="the head") == model


def test_without_a_home_directory_code_is_refused_and_nothing_is_remembered(
    code: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("XDG_STATE_HOME")
    monkeypatch.setattr("os.path.expanduser", lambda path: path)  # HOME unset, an unknown user
    trust_code(f"{code}:build")
    with pytest.raises(UntrustedCodeError, match="if you trust that file"):
        require_trusted_code(f"{code}:build", where="the head")


def test_code_that_was_changed_is_other_code_and_a_copy_is_the_same(
    code: Path, tmp_path: Path
) -> None:
    trust_code(f"{code}:build")
    copy = tmp_path / "copy.py"
    copy.write_bytes(code.read_bytes())
    assert require_trusted_code(f"{copy}:other", where="a cache")
    code.write_text("import os")
    with pytest.raises(UntrustedCodeError):
        require_trusted_code(f"{code}:build", where="a cache")


@pytest.mark.parametrize("model", ["resnet50", "absent.py:build", ":", ""])
def test_models_that_are_no_file_need_no_trust(model: str, a_new_user: Path) -> None:
    assert require_trusted_code(model, where="a cache") == model
    trust_code(model)
    assert not a_new_user.exists()


def test_code_given_twice_is_remembered_once(code: Path, a_new_user: Path) -> None:
    for _ in range(3):
        trust_code(f"{code}:build")
    assert len(a_new_user.read_text().splitlines()) == 1


def test_without_a_writable_home_code_is_given_each_time(
    code: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "file"))
    trust_code(f"{code}:build")
    with pytest.raises(UntrustedCodeError):
        require_trusted_code(f"{code}:build", where="the head")


def test_a_head_runs_only_code_that_its_user_has_given(
    photos: Path, extract_tiny: Extract, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = extract_tiny(photos).cache
    head = fit(cache.path, "svm", search=SearchOptions(c=[1.0], cv=0)).head
    image = str(photos / "train" / "bees")
    assert len(list(predict(head, [image], compute=CPU))) == 8
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "somebody else's"))
    with pytest.raises(UntrustedCodeError, match="the head names a network that is code"):
        list(predict(head, [image], compute=CPU))
    named = predict(head, [image], model=head.reference.model, compute=CPU)
    assert len(list(named)) == 8
    assert len(list(predict(head, [image], compute=CPU))) == 8
