"""The calls that carry out a recommendation, as data: the command line spells them its own way."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from bottleneck.cache import Cache
from bottleneck.fitting import Features, resolve_features
from bottleneck.input_transform import InputTransform

IMAGES = "IMAGES"  # a cache does not know where its images are
_VIEWS = 5  # what views were worth was measured with as many (docs/accuracy.md)
# What `extract` and `tune` take together, and their commands one by one.
_TOGETHER = {
    "transform": ("dict", {field.name: field.name for field in fields(InputTransform)}),
    "views": ("bottleneck.ViewOptions", {"views": "count", "augmentations": "augmentations"}),
}


@dataclass(frozen=True)
class Step:
    """A verb with its arguments. Printed, it is the call in Python.

    Attributes
    ----------
    verb : str
        Of the package, such as ``"fit"``.
    arguments : dict of str to object
        By the names that the verb's command has for them; the first ones are positional there.

    Examples
    --------
    >>> print(Step("fit", {"cache": "a.cache", "clf": "svm", "layers": ("layer3",), "views": 5}))
    bottleneck.fit('a.cache', clf='svm', layers=['layer3'], views=5)
    """

    verb: str
    arguments: Mapping[str, Any]

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {"verb": self.verb, **_plain(self.arguments)}

    def __str__(self) -> str:
        (_, first), *rest = self.arguments.items()
        values = _plain(dict(rest))
        last = []
        for name, (within, names) in _TOGETHER.items() if self.verb in ("extract", "tune") else ():
            parts = {names[key]: values.pop(key) for key in names if key in values}
            last += [f"{name}={within}({_call(parts)})"] if parts else []
        return f"bottleneck.{self.verb}({', '.join([repr(first), *_words(values), *last])})"


def fit_step(cache: Cache, features: Features, clf: str, labels: str | None) -> Step:
    """Return the call that trains and judges a head."""
    chosen, known = set(features.layers), set(resolve_features(cache, "all", 1).layers)
    every = len(chosen) > 1 and chosen == known
    return Step(
        "fit",
        {
            "cache": str(cache.path),
            "clf": clf,
            "layers": ("all",) if every else features.layers,
            **({"views": features.views} if cache.view_recipe else {}),
            **({"labels": labels} if labels else {}),
        },
    )


def views_steps(cache: Cache, layers: Sequence[str], labels: str | None) -> tuple[Step, ...]:
    """Return the calls that add views of layers to a cache, and measure them."""
    spec, reference = cache.spec, cache.reference
    unusual = {
        name: value
        for name, value, default in (
            ("weights", reference.weights, "DEFAULT"),
            ("pool", spec.pool, "avg"),
            ("relu", spec.relu, True),
        )
        if value != default
    }
    extract = Step(
        "extract",
        {
            "images": IMAGES,
            "out": str(cache.path),
            "model": reference.model,
            "layers": tuple(layers),
            **unusual,
            **_unusual_transform(cache),
            "views": _VIEWS,
            "augmentations": ("flip", "crop"),
        },
    )
    again = {"cache": str(cache.path), **({"labels": labels} if labels else {})}
    return extract, Step("advise", again)


def network_steps(cache: Cache) -> tuple[Step, ...]:
    """Return the call that trains the whole network."""
    reference = cache.reference
    return (
        Step(
            "tune",
            {
                "source": IMAGES,
                "model": reference.model,
                "weights": reference.weights,
                **_unusual_transform(cache),
            },
        ),
    )


def tail_steps(path: str) -> tuple[Step, ...]:
    """Return the call that uses a tuned tail that is there."""
    return (Step("evaluate", {"head": path, "target": IMAGES}),)


def _unusual_transform(cache: Cache) -> dict[str, Any]:
    """Return the fields of the cache's preprocessing that are not the usual ones."""
    usual = InputTransform().to_fields()
    given = cache.spec.transform.to_fields().items()
    return {name: value for name, value in given if value != usual[name]}


def _plain(values: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: list(value) if isinstance(value, tuple) else value for name, value in values.items()
    }


def _call(keywords: Mapping[str, Any]) -> str:
    return ", ".join(_words(keywords))


def _words(keywords: Mapping[str, Any]) -> list[str]:
    return [f"{name}={value!r}" for name, value in keywords.items()]
