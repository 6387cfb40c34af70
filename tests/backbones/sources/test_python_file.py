"""Networks from a factory function in a Python file."""

from pathlib import Path

import pytest
import torch

from bottleneck.backbones.backbone import build_skeleton, load_backbone
from bottleneck.errors import BackboneError, InvalidOptionError, UnknownNameError, WeightsError
from bottleneck.input_transform import InputTransform
from tests.helpers.networks import NETWORKS, PLAIN
from tests.helpers.tiny_networks import Plain


def test_a_factory_is_known_by_its_code(tmp_path: Path) -> None:
    code = NETWORKS.read_text()
    (tmp_path / "net.py").write_text(code)
    first = load_backbone(f"{tmp_path}/net.py:plain")
    assert first.model.startswith("net.py:plain@")
    (tmp_path / "net.py").write_text(code + "# another byte\n")
    assert load_backbone(f"{tmp_path}/net.py:plain").model != first.model


def test_a_factory_is_seeded() -> None:
    digests = {load_backbone(PLAIN, weights).weights_digest for weights in ("DEFAULT", "none")}
    assert len(digests) == 1


def test_a_factory_takes_a_weights_file(tmp_path: Path) -> None:
    torch.manual_seed(5)
    trained = Plain()
    torch.save(trained.state_dict(), tmp_path / "w.pth")
    loaded = load_backbone(PLAIN, str(tmp_path / "w.pth")).network
    torch.testing.assert_close(loaded.state_dict()["fc.bias"], trained.fc.bias)


def test_its_weights_are_a_file_or_its_own() -> None:
    for build in (load_backbone, build_skeleton):
        with pytest.raises(UnknownNameError, match=r"weights of .*:plain.*DEFAULT, none"):
            build(PLAIN, "IMAGENET1K_V1")
        with pytest.raises(WeightsError, match="no weights file"):
            build(PLAIN, "absent.pth")


@pytest.mark.parametrize(
    ("model", "error", "message"),
    [
        ("absent.py:plain", BackboneError, "no file absent.py"),
        (f"{NETWORKS}:plian", UnknownNameError, "did you mean.*plain"),
        (f"{NETWORKS}:not_a_network", BackboneError, "must return a torch.nn.Module, got str"),
        (f"{NETWORKS.parent}/../README.md:x", BackboneError, "is not a Python file|no file"),
    ],
)
def test_factories_that_do_not_work(model: str, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        load_backbone(model)


@pytest.mark.parametrize(
    ("own", "expected"),
    [
        ('{"crop": 64, "mean": (0, 0, 0)}', InputTransform(crop=64, mean=(0.0, 0.0, 0.0))),
        ("{}", InputTransform()),
        ("lambda x: x", InputTransform()),  # another network's method of that name
    ],
)
def test_a_network_may_say_what_input_it_expects(
    tmp_path: Path, own: str, expected: InputTransform
) -> None:
    code = f"import torch\nclass Net(torch.nn.Identity):\n    preprocess = {own}\n"
    (tmp_path / "net.py").write_text(code)
    model = f"{tmp_path}/net.py:Net"
    assert load_backbone(model).transform == expected
    assert load_backbone(model, transform={"crop": 7}).transform.crop == 7


@pytest.mark.parametrize(
    ("own", "error"),
    [
        ('{"crp": 64}', UnknownNameError),
        ('{"std": (0, 1, 1)}', InvalidOptionError),
        ('{"interpolation": "lanczos"}', InvalidOptionError),
    ],
)
def test_an_input_that_cannot_be_meant_is_refused(
    tmp_path: Path, own: str, error: type[Exception]
) -> None:
    code = f"import torch\nclass Net(torch.nn.Identity):\n    preprocess = {own}\n"
    (tmp_path / "net.py").write_text(code)
    with pytest.raises(error):
        load_backbone(f"{tmp_path}/net.py:Net")


def test_a_file_that_cannot_be_imported(tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text("import no_such_module\n")
    with pytest.raises(BackboneError, match=r"net\.py cannot be imported.*no_such_module"):
        load_backbone(f"{tmp_path}/net.py:plain")


def test_a_network_in_place_of_its_factory_is_refused_as_such(tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text("import torch\nmodel = torch.nn.Conv2d(3, 8, 3)\n")
    with pytest.raises(BackboneError, match=r"net\.py:model is a network.*function.*return model"):
        load_backbone(f"{tmp_path}/net.py:model")


def process_state() -> tuple[object, ...]:
    return torch.is_grad_enabled(), torch.get_default_device(), torch.get_default_dtype()


@pytest.mark.parametrize(
    "setting",
    [
        "torch.set_grad_enabled(False)",
        "torch.set_default_device('meta')",
        "torch.set_default_dtype(torch.float64)",
    ],
)
def test_a_file_leaves_the_settings_of_pytorch_as_they_were(tmp_path: Path, setting: str) -> None:
    (tmp_path / "net.py").write_text(
        "import torch\ndef build():\n"
        f"    network = torch.nn.Conv2d(3, 8, 3)\n    {setting}\n    return network\n"
    )
    before = process_state()
    load_backbone(f"{tmp_path}/net.py:build")
    assert process_state() == before


def test_a_file_leaves_the_working_directory_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The paths of images and caches that the user gave are relative to it."""
    (tmp_path / "net.py").write_text(
        "import os, torch\nos.chdir('/')\ndef build():\n    os.chdir('/')\n"
        "    return torch.nn.Conv2d(3, 8, 3)\n"
    )
    monkeypatch.chdir(tmp_path)
    load_backbone("net.py:build")
    assert Path.cwd() == tmp_path
