"""The page: its sections in their order, in one file without anything from outside."""

import base64
import hashlib
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from importlib.resources import files
from string import Template
from typing import NamedTuple

from bottleneck import __version__
from bottleneck.reporting.findings import Findings
from bottleneck.reporting.html import Html, element, join
from bottleneck.reporting.sections import (
    classes,
    confusion,
    curve,
    duplicates,
    examples,
    layers,
    origin,
    rejected,
    reliability,
    suspects,
    verdict,
)


class Section(NamedTuple):
    """A part of the page, below a heading of its own."""

    title: str
    render: Callable[[Findings], Html]


SECTIONS: Mapping[str, Section] = {
    "verdict": Section("Verdict", verdict.render),
    "classes": Section("Classes", classes.render),
    "confusion": Section("Confusion matrix", confusion.render),
    "mistakes": Section("Most confident mistakes", examples.render_mistakes),
    "suspects": Section("Labels to check", suspects.render),
    "duplicates": Section("Near duplicates", duplicates.render),
    "reliability": Section("Reliability", reliability.render),
    "layers": Section("Accuracy by layer", layers.render),
    "curve": Section("Learning curve", curve.render),
    "uncertain": Section("Least certain images", examples.render_uncertain),
    "rejected": Section("Rejected files", rejected.render),
    "origin": Section("How it was made", origin.render),
}

# The matrix has the most pictures: where bytes are limited, those of other sections come first.
_LAST = "confusion"


def make_page(findings: Findings) -> str:
    """Return the whole page."""
    order = sorted(SECTIONS, key=lambda name: name == _LAST)
    made = {name: SECTIONS[name].render(findings) for name in order}
    style, script = _part("page.css"), _part("page.js")
    return Template(_part("page.html")).substitute(
        title=element("title", f"{verdict.title(findings)}: {findings.score.accuracy:.1%}"),
        heading=element("h1", verdict.title(findings)),
        subtitle=element(
            "p", f"{findings.request.head} on {findings.cache.path}", class_="subtitle"
        ),
        contents=join(
            element("li", element("a", section.title, href=f"#{name}"))
            for name, section in SECTIONS.items()
        ),
        sections=join(_section(name, made[name]) for name in SECTIONS),
        thumbnails=element("p", findings.thumbnails),
        made=element("p", f"Made by bottleneck {__version__}, {datetime.now(UTC):%Y-%m-%d}."),
        style=style,
        script=script,
        style_digest=_digest(style),
        script_digest=_digest(script),
    )


def _section(name: str, body: Html) -> Html:
    heading = element("h2", SECTIONS[name].title, id=f"{name}-title")
    return element("section", heading, body, id=name, aria_labelledby=f"{name}-title")


def _part(name: str) -> str:
    return (files("bottleneck.reporting") / name).read_text("utf-8")


def _digest(text: str) -> str:
    """Return what allows a browser to run this text and no other."""
    digest = hashlib.sha256(text.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode('ascii')}'"
