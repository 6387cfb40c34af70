"""Pages of reports, read by Python's own parser, and a cache and a head that make one."""

from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np

import bottleneck as bn
from bottleneck.cache import Cache
from tests.helpers.networks import PLAIN, SMALL
from tests.helpers.options import grouped
from tests.helpers.photographs import photograph

CLASSES = ("<script>alert('x')</script>", 'a "b" & c', "wésps")
_COLOURS = ("ants", "bees", "wasps")
_VOID = {"br", "img", "meta"}


@dataclass
class Node:
    """An element: its tag, attributes, and children, which are elements and texts."""

    tag: str
    attributes: dict[str, str | None]
    children: list["Node | str"] = field(default_factory=list)

    def all(self, tag: str, **attributes: str) -> list["Node"]:
        """Every element below this one with a tag, and with these values of attributes."""
        found = []
        for child in self.children:
            if isinstance(child, Node):
                if child.tag == tag and attributes.items() <= child.attributes.items():
                    found.append(child)
                found += child.all(tag, **attributes)
        return found

    def one(self, tag: str, **attributes: str) -> "Node":
        """The only such element."""
        (node,) = self.all(tag, **attributes)
        return node

    def get(self, name: str) -> str:
        """An attribute that must be there."""
        value = self.attributes[name]
        assert value is not None
        return value

    @property
    def text(self) -> str:
        """All text below it."""
        return "".join(one if isinstance(one, str) else one.text for one in self.children)


class _Parser(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.root = Node("", {})
        self._open = [self.root]

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        node = Node(tag, dict(attributes))
        assert len(node.attributes) == len(attributes), f"an attribute twice: {attributes}"
        self._open[-1].children.append(node)
        if tag not in _VOID:
            self._open.append(node)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop().tag == tag, f"</{tag}> closes another element"

    def handle_data(self, data: str) -> None:
        self._open[-1].children.append(data)

    def finish(self) -> Node:
        self.close()
        assert self._open == [self.root], "an element is not closed"
        return self.root


def parse(text: str) -> Node:
    """The elements of a page, each closed where it should be."""
    parser = _Parser()
    parser.feed(text)
    return parser.finish()


def rows_of(table: Node) -> list[list[str]]:
    """The texts of a table's body."""
    body = table.one("tbody")
    return [
        [cell.text for cell in row.children if isinstance(cell, Node)] for row in body.all("tr")
    ]


def noisy_images(folder: Path) -> Path:
    """A CSV of 60 photographs, a third of them to test, with labels that are wrong now and then.

    A training image is to be tested too, and one is no image.
    """
    random = np.random.default_rng(0)
    (folder / "images").mkdir(parents=True)
    lines = ["path,label,split"]
    for i in range(60):
        k, name = i // 20, f"images/{i:02d}.png"
        photograph(i, _COLOURS[k]).save(folder / name)
        label = CLASSES[k if random.random() < 0.7 else random.integers(3)]
        lines.append(f"{name},{_quoted(label)},{'test' if i % 3 == 2 else 'train'}")
    (folder / "images/copy.png").write_bytes((folder / "images/00.png").read_bytes())
    (folder / "images/broken.png").write_bytes(b"no image <b>")
    lines += [f"images/{name}.png,{CLASSES[2]},test" for name in ("copy", "broken")]
    (folder / "images.csv").write_text("\n".join(lines) + "\n")
    return folder / "images.csv"


def _quoted(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'


def noisy_cache(images: Path, out: Path, **options: Any) -> Cache:
    """A cache of such images with two layers."""
    known: dict[str, Any] = {
        "model": PLAIN,
        "layers": ["layer2", "layer3"],
        "transform": SMALL,
        "dtype": "float32",
        "shard_size": 16,
        "precision": "float32",
        "device": "cpu",
    }
    return bn.extract(images, out, **grouped(known | options)).cache


def noisy_head(cache: Cache, path: Path, **options: Any) -> Path:
    """A softmax head on the first layer of such a cache, with a calibration."""
    search = bn.SearchOptions(c=(0.1,), cv=3)
    bn.fit(cache, "softmax", layers="layer2", search=search, **options).head.save(path)
    return path
