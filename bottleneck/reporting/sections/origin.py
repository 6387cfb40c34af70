"""Where the codes and the head come from, and the calls that make them and this page again."""

from collections.abc import Sequence
from dataclasses import asdict
from textwrap import indent
from typing import Any

from bottleneck.fitting import Head
from bottleneck.reporting.findings import Findings
from bottleneck.reporting.html import Html, element
from bottleneck.reporting.tables import definitions
from bottleneck.spec import Spec

_WIDTH = 88  # characters of a line of Python


def render(findings: Findings) -> Html:
    """Return the spec with its digests, and Python that makes cache, head and page again."""
    cache, head = findings.cache, findings.head
    spec = cache.spec
    transform = {key: value for key, value in asdict(spec.transform).items() if value is not None}
    decoder = transform.pop("decoder")
    facts: dict[str, object] = {
        "network": spec.model,
        "weights": spec.weights_digest,
        "spec": spec.digest(),
        "layers of the cache": ", ".join(cache.layers),
        "layers of the head": str(head.features),
        "pooling": _poolings(spec, head.features.layers),
        "ReLU": "yes" if spec.relu else "no",
        "precision": spec.precision,
        "decoder": decoder,
        **{key: _shown(value) for key, value in transform.items()},
        "table of images": cache.images.digest,
    }
    code = element("code", calls(findings))
    return element(
        "div",
        definitions(facts, class_="origin"),
        element("p", "The same again, in Python:"),
        element("pre", code, tabindex=0, role="group", aria_label="Python"),
    )


def calls(findings: Findings) -> str:
    """Return Python that makes the cache, the head and the page again."""
    cache, head, asked = findings.cache, findings.head, findings.request
    spec, recipe = cache.spec, cache.view_recipe
    views = max((cache.views(layer) for layer in cache.layers), default=1)
    options: dict[str, Any] = {
        "model": cache.reference.model,
        "weights": cache.reference.weights,
        "layers": cache.layers,
        "transform": _Code(_call("dict", **spec.transform.to_fields())),
        "pool": spec.pool,
        "relu": spec.relu,
        "compute": _Code(_call("bn.ComputeOptions", precision=spec.precision)),
    }
    if recipe is not None:
        made = _call("bn.ViewOptions", views, recipe.augmentations, recipe.seed)
        options["views"] = _Code(made)
    images = asked.images or "the images"
    lines = ["import bottleneck as bn", ""]
    lines.append(f"cache = {_call('bn.extract', images, str(cache.path), **options)}")
    if isinstance(head, Head):
        lines.append(f"head = {_fit(findings, head)}.head")
        lines.append(f"head.save({asked.head!r})")
    else:
        lines.append(f"# {asked.head} was tuned: it holds its own recipe.")
    page: dict[str, Any] = {"images": asked.images, "labels": asked.labels}
    page = {key: value for key, value in page.items() if value is not None}
    page |= {"layers": asked.layers, "max_bytes": asked.max_bytes}
    lines.append(_call("bn.report", _Code("cache"), asked.head, asked.out, **page))
    return "\n".join(lines)


def _fit(findings: Findings, head: Head) -> str:
    c, scaling = head.training_record.get("c"), head.scaler.name
    validation = head.training_record.get("cv")  # of another program it may be anything
    folds = validation.get("folds", 0) if isinstance(validation, dict) else 0
    options: dict[str, Any] = {
        "layers": list(head.features.layers),
        "views": head.features.views,
        "search": _Code(_call("bn.SearchOptions", c=c, cv=folds, scaling=scaling)),
    }
    if findings.request.labels is not None:
        options["labels"] = findings.request.labels
    clf: object = head.clf
    if weight := head.options.class_weight:
        clf = _Code(_call("bn.ClassifierOptions", head.clf, class_weight=weight))
    return _call("bn.fit", _Code("cache"), clf, **options)


def _poolings(spec: Spec, layers: Sequence[str]) -> str:
    """Return the pooling of a head's layers, or that of each if they differ."""
    pools = {layer: spec.pool_of(layer) for layer in layers}
    if len(set(pools.values())) == 1:
        return pools[layers[0]]
    return ", ".join(f"{layer}: {pool}" for layer, pool in pools.items())


class _Code(str):
    """Python, where other texts are quoted."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)


def _call(name: str, *arguments: object, **options: object) -> str:
    """Return a call, on one line if it fits."""
    parts = [*map(repr, arguments), *(f"{key}={value!r}" for key, value in options.items())]
    line = f"{name}({', '.join(parts)})"
    if len(line) <= _WIDTH:
        return line
    return f"{name}(\n" + "".join(f"{indent(part, '    ')},\n" for part in parts) + ")"


def _shown(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)
