"""Elements: what is text stays text."""

from hypothesis import given
from hypothesis import strategies as st

from bottleneck.reporting.html import Html, element, join
from tests.helpers.pages import parse


@given(st.text(st.characters(codec=None)), st.text())
def test_any_text_is_read_back_and_is_no_markup(text: str, value: str) -> None:
    made = element("p", text, element("b", "x"), title=value)
    node = parse(made).one("p")
    assert len(node.all("b")) == 1
    shown = "".join(c if c.isprintable() or c == "\n" else repr(c)[1:-1] for c in text)
    assert node.text == f"{shown}x"
    made.encode("utf-8")  # also where a file's name is not


def test_markup_is_not_escaped_twice_and_nothing_is_left_out() -> None:
    assert element("p", Html("<b>1</b>"), None, 2) == "<p><b>1</b>2</p>"
    assert join([Html("<br>"), "<"], between=" ") == "<br> &lt;"


def test_attributes_have_their_html_names() -> None:
    made = element("img", alt="", class_="a", aria_label='"', hidden=True, open=False, src=None)
    assert made == '<img alt="" class="a" aria-label="&quot;" hidden>'
