"""HTML from Python: elements whose texts are escaped, whatever a class or a file is named."""

import html
from collections.abc import Iterable

_VOID = frozenset({"br", "img", "meta"})


class Html(str):
    """Markup. Every other text that becomes part of an element is escaped.

    Examples
    --------
    >>> element("p", "a < b, ", element("b", "and"), " more", class_="note")
    '<p class="note">a &lt; b, <b>and</b> more</p>'
    """

    __slots__ = ()


def element(tag: str, /, *children: object, **attributes: str | float | bool | None) -> Html:
    r"""Return an element.

    Parameters
    ----------
    tag : str
    *children
        Markup (`Html`), or anything whose text is to be shown; None is left out.
    **attributes
        ``class_`` and ``aria_label`` give ``class`` and ``aria-label``. None and False are
        left out, True is an attribute without a value.

    Examples
    --------
    >>> element("a", "Käfer\x00", href="#a&b", hidden=False)
    '<a href="#a&amp;b">Käfer\\x00</a>'
    """
    start = f"<{tag}{''.join(_attribute(*pair) for pair in attributes.items())}>"
    if tag in _VOID:
        return Html(start)
    return Html(f"{start}{join(children)}</{tag}>")


def join(children: Iterable[object], between: str = "") -> Html:
    """Return children one after another, texts escaped."""
    return Html(between.join(_markup(child) for child in children if child is not None))


def _markup(child: object) -> str:
    return child if isinstance(child, Html) else _escaped(str(child))


def _attribute(name: str, value: str | float | bool | None) -> str:
    if value is None or value is False:
        return ""
    name = name.rstrip("_").replace("_", "-")
    return f" {name}" if value is True else f' {name}="{_escaped(str(value))}"'


def _escaped(text: str) -> str:
    """Escape markup, and what HTML must not hold or a reader cannot see: controls, surrogates."""
    if not text.isprintable():
        text = "".join(c if c.isprintable() or c == "\n" else repr(c)[1:-1] for c in text)
    return html.escape(text)
