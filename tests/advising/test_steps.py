"""Calls as they are spelt in Python: they can be parsed, and name what the cache has."""

import ast
from dataclasses import replace
from pathlib import Path

import numpy as np

import bottleneck as bn
from bottleneck.advising.steps import Step, fit_step, network_steps, tail_steps, views_steps
from bottleneck.fitting import resolve_features
from tests.helpers.codes import layered_cache
from tests.helpers.datasets import written_cache


def arguments(step: Step) -> dict[str, str]:
    call = ast.parse(str(step), mode="eval").body
    assert isinstance(call, ast.Call)
    return {str(one.arg): ast.unparse(one.value) for one in call.keywords}


def test_a_head_on_all_layers_says_all(tmp_path: Path) -> None:
    cache = bn.open_cache(layered_cache(tmp_path / "cache", 12, early=1, late=1, views=2))
    every = fit_step(cache, resolve_features(cache, "all"), "svm", "labels.csv")
    assert every.arguments["layers"] == ("all",)
    assert arguments(every) == {
        "clf": "'svm'",
        "layers": "['all']",
        "views": "2",
        "labels": "'labels.csv'",
    }
    one = fit_step(cache, resolve_features(cache, "layer1", 1), "svm", None)
    assert arguments(one) == {"clf": "'svm'", "layers": "['layer1']", "views": "1"}


def test_maps_beside_codes_are_named_and_get_no_views(tmp_path: Path) -> None:
    codes = np.zeros((12, 2), dtype=np.float32)
    layers = ["layer1", "layer2", "layer2@none"]
    cache = bn.open_cache(written_cache(tmp_path / "cache", codes, ["a", "b"] * 6, layers=layers))
    pooled = resolve_features(cache, "all", 1)
    assert arguments(fit_step(cache, pooled, "svm", None))["layers"] == "['all']"
    every = resolve_features(cache, layers, 1)
    assert arguments(fit_step(cache, every, "svm", None))["layers"] == str(layers)
    extract, _ = views_steps(cache, pooled.layers, None)
    assert arguments(extract)["layers"] == "['layer1', 'layer2']"


def test_views_are_added_by_the_options_of_the_spec(tmp_path: Path) -> None:
    cache = bn.open_cache(layered_cache(tmp_path / "cache", 12, early=1, late=1))
    spec = replace(cache.spec, pool="2", transform=replace(cache.spec.transform, crop=64))
    changed = replace(cache, manifest=replace(cache.manifest, spec=spec))
    (tune,) = network_steps(changed)
    assert arguments(tune)["transform"] == "dict(crop=64)"
    extract, again = views_steps(changed, changed.layers, None)
    assert arguments(extract) == {
        "out": repr(str(cache.path)),
        "model": "'net'",
        "layers": "['layer1', 'layer2']",
        "weights": "'none'",
        "pool": "'2'",
        "transform": "dict(crop=64)",
        "views": "bottleneck.ViewOptions(count=5, augmentations=['flip', 'crop'])",
    }
    assert str(again) == f"bottleneck.advise({str(cache.path)!r})"


def test_networks_and_tails_have_their_calls(tmp_path: Path) -> None:
    cache = bn.open_cache(layered_cache(tmp_path / "cache", 12, early=1, late=1))
    (tune,) = network_steps(cache)
    assert str(tune) == "bottleneck.tune('IMAGES', model='net', weights='none')"
    (evaluate,) = tail_steps("tail.safetensors")
    assert str(evaluate) == "bottleneck.evaluate('tail.safetensors', target='IMAGES')"
