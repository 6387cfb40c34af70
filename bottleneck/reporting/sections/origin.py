"""Where the codes and the head come from, and the calls that make them and this page again."""

from dataclasses import asdict
from typing import Any

from bottleneck.fitting import Head
from bottleneck.reporting.findings import Findings
from bottleneck.reporting.html import Html, element
from bottleneck.reporting.thumbnails import Thumbnails

_WIDTH = 88  # characters of a line of Python


def render(findings: Findings, thumbnails: Thumbnails) -> Html:
    """Return the spec with its digests, and Python that makes cache, head and page again."""
    cache, head = findings.cache, findings.head
    spec = cache.spec
    facts: dict[str, object] = {
        "network": spec.model,
        "weights": spec.weights_digest,
        "spec": spec.digest(),
        "layers of the cache": ", ".join(cache.layers),
        "layers of the head": str(head.features),
        "pooling": spec.pool,
        "ReLU": "yes" if spec.relu else "no",
        "precision": spec.precision,
        "decoder": spec.decoder,
        **{key: _shown(value) for key, value in asdict(spec.transform).items()},
        "table of images": cache.images.digest,
    }
    items = [element("div", element("dt", key), element("dd", str(facts[key]))) for key in facts]
    code = element("code", calls(findings))
    return element(
        "div",
        element("dl", *items, class_="origin"),
        element("p", "The same again, in Python:"),
        element("pre", code, tabindex=0, role="group", aria_label="Python"),
    )


def calls(findings: Findings) -> str:
    """Return Python that makes the cache, the head and the page again."""
    cache, head, paths = findings.cache, findings.head, findings.paths
    spec, recipe = cache.spec, cache.view_recipe
    views = max((cache.views(layer) for layer in cache.layers), default=1)
    options: dict[str, Any] = {
        "model": cache.reference.model,
        "weights": cache.reference.weights,
        "layers": cache.layers,
        "transform": asdict(spec.transform),
        "pool": spec.pool,
        "relu": spec.relu,
        "compute": _Code(f"bn.ComputeOptions(precision={spec.precision!r})"),
    }
    if recipe is not None:
        of_views = f"{views}, {recipe.augmentations!r}, {recipe.seed}"
        options["views"] = _Code(f"bn.ViewOptions({of_views})")
    images = paths.images or "the images"
    lines = ["import bottleneck as bn", ""]
    lines.append(f"cache = {_call('extract', images, str(cache.path), **options)}")
    if isinstance(head, Head):
        lines.append(f"head = {_fit(findings, head)}.head")
        lines.append(f"head.save({paths.head!r})")
    else:
        lines.append(f"# {paths.head} was tuned: it holds its own recipe.")
    given = {"images": paths.images, "labels": paths.labels}
    some = {key: value for key, value in given.items() if value is not None}
    lines.append(_call("report", _Code("cache"), paths.head, paths.out, **some))
    return "\n".join(lines)


def _fit(findings: Findings, head: Head) -> str:
    c, scaling = head.training_record.get("c"), head.scaler.name
    options: dict[str, Any] = {
        "layers": list(head.features.layers),
        "views": head.features.views,
        "search": _Code(f"bn.SearchOptions(c={c!r}, scaling={scaling!r})"),
    }
    if findings.paths.labels is not None:
        options["labels"] = findings.paths.labels
    return _call("fit", _Code("cache"), head.clf, **options)


class _Code(str):
    """Python, where other texts are quoted."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)


def _call(name: str, *arguments: object, **options: object) -> str:
    """Return a call, on one line if it fits."""
    parts = [*map(repr, arguments), *(f"{key}={value!r}" for key, value in options.items())]
    line = f"bn.{name}({', '.join(parts)})"
    if len(line) <= _WIDTH:
        return line
    return f"bn.{name}(\n" + "".join(f"    {part},\n" for part in parts) + ")"


def _shown(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)
