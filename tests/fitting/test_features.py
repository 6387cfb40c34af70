from pathlib import Path

import numpy as np
import pytest

from bottleneck.cache.store import open_cache
from bottleneck.errors import InvalidOptionError, UnknownNameError
from bottleneck.fitting.features import Features, require_layers, resolve_features
from tests.helpers.datasets import written_cache

CODES = np.arange(24, dtype=np.float32).reshape(12, 2)
LABELS = ["a", "b"] * 6


def test_the_only_layer_need_not_be_named(tmp_path: Path) -> None:
    cache = open_cache(written_cache(tmp_path, CODES, LABELS))
    for layers in (None, (), "layer", ["layer"], "all"):
        assert resolve_features(cache, layers) == Features(("layer",))


def test_layers_are_chosen_among_those_that_there_are(tmp_path: Path) -> None:
    cache = open_cache(written_cache(tmp_path, CODES, LABELS, layers=["layer2", "layer3"]))
    assert resolve_features(cache, "layer3") == Features(("layer3",))
    assert resolve_features(cache, ["layer3", "layer2", "layer3"]).layers == ("layer3", "layer2")
    assert resolve_features(cache, "all").layers == ("layer2", "layer3")
    assert resolve_features(cache, ["layer3", "all"]).layers == ("layer3", "layer2")
    with pytest.raises(UnknownNameError, match=r"'layr3': did you mean layer3.*extract"):
        resolve_features(cache, "layr3")
    with pytest.raises(UnknownNameError, match="'layer4'"):
        resolve_features(cache, ["layer3", "layer4"])
    with pytest.raises(
        InvalidOptionError, match=r"the 2 layers .*\(layer2, layer3\), or all.*sweep"
    ):
        resolve_features(cache, None)


def test_a_layer_may_be_called_all(tmp_path: Path) -> None:
    cache = open_cache(written_cache(tmp_path, CODES, LABELS, layers=["all", "layer3"]))
    assert resolve_features(cache, "all").layers == ("all",)


def test_a_cache_without_layers_is_refused(tmp_path: Path) -> None:
    cache = open_cache(written_cache(tmp_path / "cache", CODES, LABELS, layers=[]))
    for layers in (None, "all"):
        with pytest.raises(InvalidOptionError, match=r"0 layers.*none is extracted yet"):
            resolve_features(cache, layers)
    assert require_layers(cache, ["all"]) == ()
