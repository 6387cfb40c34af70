import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bottleneck.cache.format.manifest import Manifest, StorageLayout, manifest_text, parse_manifest
from bottleneck.errors import CacheError
from tests.helpers.shards import a_manifest

PATH = Path("some.cache")


def test_a_manifest_is_read_as_it_was_written() -> None:
    manifest = a_manifest("float16", compression="gzip")
    assert parse_manifest(PATH, manifest_text(manifest).encode()) == manifest
    assert Manifest.from_json(json.loads(json.dumps(manifest.to_json()))) == manifest


def values(plan: Any, path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    if not isinstance(plan, dict):
        return [path]
    return [found for key, value in plan.items() for found in values(value, (*path, key))]


PLAN = json.loads(manifest_text(a_manifest()))


@pytest.mark.parametrize("path", values(PLAN), ids="/".join)
def test_any_edit_is_found(path: tuple[str, ...]) -> None:
    plan = json.loads(manifest_text(a_manifest()))
    inner = plan
    for key in path[:-1]:
        inner = inner[key]
    old = inner[path[-1]]
    inner[path[-1]] = f"{old}x" if isinstance(old, str) else 17
    with pytest.raises(CacheError, match=r"some\.cache: spec\.json"):
        parse_manifest(PATH, json.dumps(plan).encode())
    del inner[path[-1]]
    with pytest.raises(CacheError, match=r"some\.cache: spec\.json"):
        parse_manifest(PATH, json.dumps(plan).encode())


def test_the_layout_of_the_json_does_not_matter() -> None:
    assert parse_manifest(PATH, json.dumps(PLAN).encode()) == a_manifest()


HOSTILE = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=6,
)


@given(path=st.sampled_from(values(a_manifest().to_json())), value=HOSTILE)
def test_a_value_of_any_other_kind_is_refused_or_as_it_should_be(
    path: tuple[str, ...], value: Any
) -> None:
    plan = a_manifest().to_json()
    inner = plan
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    try:
        found = Manifest.from_json(plan)
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError):
        return
    for field in ("model", "weights_digest", "decoder", "precision", "pool"):
        assert isinstance(getattr(found.spec, field), str)
    assert isinstance(found.spec.relu, bool)
    assert 1 <= found.spec.transform.crop <= 8192
    assert 1 <= found.spec.transform.resize <= 8192
    assert found.layout.shard_size >= 1


@pytest.mark.parametrize(
    "layout",
    [
        ("float64", 5, "none"),
        ("float16", 0, "none"),
        ("float16", -5, "none"),
        ("float16", 2.0, "none"),
        ("float16", True, "none"),
        ("float16", 1 << 60, "none"),
        ("float16", 5, "zip"),
    ],
)
def test_an_impossible_layout_is_refused(layout: tuple[Any, Any, Any]) -> None:
    with pytest.raises(ValueError, match=r"no layout|no shard"):
        StorageLayout(*layout)


def test_shards_are_of_one_cache_by_spec_and_cache_id() -> None:
    manifest = a_manifest()
    assert manifest.is_of(a_manifest("float16"))
    assert not manifest.is_of(dataclasses.replace(manifest, cache_id="other"))
    other = dataclasses.replace(manifest.spec, pool="max")
    assert not manifest.is_of(dataclasses.replace(manifest, spec=other))
