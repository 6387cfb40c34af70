"""The script of the gallery draws the pictures that its page shows."""

import inspect
import re
from pathlib import Path
from typing import Any

import make_gallery
import pytest

import bottleneck as bn
from bottleneck.backbones import load_backbone
from tests.helpers.codes import layered_cache

PAGE = (make_gallery.ROOT / "docs" / "gallery.md").read_text("utf-8")


def test_draw_makes_each_picture_of_the_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: dict[str, Any] = {}
    signature = inspect.signature(bn.extract)

    def extract(*arguments: Any, **options: Any) -> Path:
        asked.update(signature.bind(*arguments, **options).arguments)
        return layered_cache(Path(asked["out"]), 60, early=1.0, late=2.0)

    monkeypatch.setattr(bn, "extract", extract)
    make_gallery.draw(tmp_path, tmp_path)
    drawn = {path.name: path.read_text("utf-8") for path in tmp_path.glob("*.svg")}
    assert set(drawn) == set(re.findall(r"\(gallery/(.*?)\)", PAGE))
    assert set(drawn) == {path.name for path in make_gallery.PICTURES.iterdir()}
    for text in ("layer1", "layer2", "all layers", "held-out test"):
        assert text in drawn["sweep.svg"]
    for text in ("predicted", "true", "accuracy"):
        assert text in drawn["fit.svg"]
    # The sample and its network are where the script looks for them.
    assert asked["images"].is_dir()
    backbone = load_backbone(asked["model"], asked["weights"])
    assert [layer.name for layer in backbone.select_layers(asked["layers"])] == make_gallery.LAYERS
