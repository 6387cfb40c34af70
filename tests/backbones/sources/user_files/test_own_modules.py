"""A factory in several files: its neighbours are importable, its own, and part of its identity."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from bottleneck.backbones.backbone import Backbone, load_backbone
from bottleneck.errors import BackboneError
from bottleneck.runtime import sha256

NET = """
from parts import make

def build():
    return make()
"""
PARTS = """
from torch import nn
WIDTH = {width}

def make():
    return nn.Sequential(nn.Conv2d(3, WIDTH, 3), nn.ReLU())
"""


def write(folder: Path, *, width: int = 4, net: str = NET) -> str:
    folder.mkdir(exist_ok=True)
    (folder / "net.py").write_text(net)
    (folder / "parts.py").write_text(PARTS.format(width=width))
    return f"{folder}/net.py:build"


def width(backbone: Backbone) -> int:
    return int(backbone.network.get_parameter("0.weight").shape[0])


@pytest.fixture(autouse=True)
def nothing_is_left_behind() -> Iterator[None]:
    before = [*sys.path], set(sys.modules), sys.dont_write_bytecode
    yield
    assert [*sys.path] == before[0]
    assert sys.dont_write_bytecode == before[2]
    left = {name for name in set(sys.modules) - before[1] if name.startswith(("parts", "helper"))}
    assert not left


def test_a_file_imports_its_neighbours(tmp_path: Path) -> None:
    model = write(tmp_path)
    assert width(load_backbone(model)) == 4
    assert not (tmp_path / "__pycache__").exists()


def test_two_factories_have_each_their_own_neighbours(tmp_path: Path) -> None:
    one, other = write(tmp_path / "a", width=4), write(tmp_path / "b", width=6)
    assert [width(load_backbone(model)) for model in (one, other, one)] == [4, 6, 4]


def test_a_module_of_the_process_with_a_neighbours_name_is_set_aside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "elsewhere", width=8)
    model = write(tmp_path / "here", width=4)
    monkeypatch.syspath_prepend(str(tmp_path / "elsewhere"))
    import parts  # type: ignore[import-not-found]

    try:
        assert width(load_backbone(model)) == 4
        assert sys.modules["parts"] is parts
        assert parts.WIDTH == 8
    finally:
        del sys.modules["parts"]


def test_a_neighbour_that_changes_is_another_network_at_once(tmp_path: Path) -> None:
    model = write(tmp_path, width=4)
    first = load_backbone(model)
    again = load_backbone(model)
    write(tmp_path, width=6)  # of as many bytes, in the same second
    changed = load_backbone(model)
    assert first.model == again.model != changed.model
    assert (width(first), width(changed)) == (4, 6)


@pytest.mark.parametrize(
    "net",
    [
        "def build():\n    from parts import make\n    return make()\n",
        "import parts as p\nbuild = p.make\n",
        "import importlib\ndef build(): return importlib.import_module('parts').make()\n",
        "import middle\nbuild = middle.build\n",
        "from package.inner import build\n",
    ],
)
def test_every_way_of_importing_counts(tmp_path: Path, net: str) -> None:
    model = write(tmp_path, net=net)
    (tmp_path / "middle.py").write_text("import parts\nbuild = lambda: parts.make()\n")
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "__init__.py").write_text("")
    (tmp_path / "package" / "inner.py").write_text("from .deep import build\n")
    (tmp_path / "package" / "deep.py").write_text("from parts import make as build\n")
    first = load_backbone(model).model
    (tmp_path / "unrelated.py").write_text("import parts\n")
    assert load_backbone(model).model == first
    (tmp_path / "parts.py").write_text(PARTS.format(width=6))
    assert load_backbone(model).model != first


def test_a_module_on_the_path_counts_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "helper_on_path.py").write_text(PARTS.format(width=4))
    model = write(tmp_path / "here", net="from helper_on_path import make\nbuild = make\n")
    monkeypatch.syspath_prepend(str(tmp_path / "lib"))
    try:
        first, again = load_backbone(model), load_backbone(model)
        (tmp_path / "lib" / "helper_on_path.py").write_text(PARTS.format(width=6))
        changed = load_backbone(model)
    finally:
        sys.modules.pop("helper_on_path", None)
    assert first.model == again.model != changed.model
    assert (width(first), width(changed)) == (4, 6)


def test_a_file_of_its_own_has_the_identity_of_its_bytes(tmp_path: Path) -> None:
    code = "import torch, json\nfrom torch import nn\nbuild = lambda: nn.Conv2d(3, 4, 3)\n"
    (tmp_path / "net.py").write_text(code)
    (tmp_path / "json.py").write_text("")  # Python's own is loaded
    (tmp_path / "unrelated.py").write_text("")
    model = load_backbone(f"{tmp_path}/net.py:build").model
    assert model == f"net.py:build@{sha256(code.encode())[:16]}"


def test_the_identity_does_not_depend_on_the_folder(tmp_path: Path) -> None:
    models = {load_backbone(write(tmp_path / name)).model for name in "ab"}
    assert len(models) == 1


def test_a_path_that_a_file_adds_is_gone_afterwards(tmp_path: Path) -> None:
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "parts.py").write_text(PARTS.format(width=5))
    net = f"import sys\nsys.path.insert(0, {str(tmp_path / 'lib')!r})\n{NET}"
    (tmp_path / "net.py").write_text(net)
    first = load_backbone(f"{tmp_path}/net.py:build")
    (tmp_path / "lib" / "parts.py").write_text(PARTS.format(width=6))
    changed = load_backbone(f"{tmp_path}/net.py:build")
    assert (width(first), width(changed)) == (5, 6)
    assert first.model != changed.model


def test_a_file_that_fails_leaves_nothing_behind_either(tmp_path: Path) -> None:
    model = write(tmp_path, net="import parts\nraise ValueError('no')\n")
    with pytest.raises(
        BackboneError, match=r"cannot be imported: ValueError: no \(net\.py, line 2"
    ):
        load_backbone(model)


def test_a_network_outlives_its_modules(tmp_path: Path) -> None:
    """Classes of a neighbour work although its module is forgotten."""
    net = "from parts import Net as build\n"
    model = write(tmp_path, net=net)
    (tmp_path / "parts.py").write_text(
        "import torch\nfrom torch import nn\nfrom torch.nn import functional as F\n"
        "class Net(nn.Module):\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        "        self.conv = nn.Conv2d(3, 4, 3)\n"
        "    def forward(self, x):\n"
        "        return F.relu(self.conv(x))\n"
    )
    backbone = load_backbone(model, transform={"crop": 16, "resize": 16})
    assert [layer.name for layer in backbone.layers] == ["conv"]
    assert backbone.network(torch.zeros(1, 3, 16, 16)).shape == (1, 4, 14, 14)


def test_the_folder_may_be_relative(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path)
    monkeypatch.chdir(tmp_path)
    assert width(load_backbone("net.py:build")) == 4
