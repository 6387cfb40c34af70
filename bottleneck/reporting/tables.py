"""Tables and lists of a page: a header, rows, and numbers to the right."""

from collections.abc import Iterable, Mapping, Sequence

from bottleneck.reporting.html import Html, element


def table(
    header: Sequence[object],
    rows: Iterable[Sequence[object]],
    *,
    caption: str,
    sortable: bool = False,
    class_: str = "",
) -> Html:
    """Return a table that scrolls by itself where it is wider than the page.

    Parameters
    ----------
    header : sequence
        Of the columns. The first one names its row.
    rows : iterable of sequences
        Numbers are aligned to the right; a `float` is a share, and None is unknown.
    caption : str
        What it shows, for screen readers.
    sortable : bool
        Whether a click on a column's header sorts it.
    class_ : str
        Of the table.
    """
    return table_of_cells(
        [element("th", name, scope="col") for name in header],
        ([_cell(i, value) for i, value in enumerate(row)] for row in rows),
        caption=caption,
        class_=f"{class_} sortable".strip() if sortable else class_ or None,
    )


def table_of_cells(
    header: Iterable[Html], rows: Iterable[Iterable[Html]], *, caption: str, class_: str | None
) -> Html:
    """Return a table of cells that are elements already, which scrolls as those of `table`."""
    whole = element(
        "table",
        element("caption", caption),
        element("thead", element("tr", *header)),
        element("tbody", *(element("tr", *cells) for cells in rows)),
        class_=class_,
    )
    # A region that scrolls has to be in reach of the keyboard.
    return element("div", whole, class_="wide", tabindex=0, role="group", aria_label=caption)


def chart_with_numbers(said: str, chart: Html, numbers: Html) -> Html:
    """Return a chart below a sentence about it, and its numbers as a table that is folded away."""
    folded = element("details", element("summary", "The numbers"), numbers)
    return element("div", element("p", said), chart, folded)


def definitions(facts: Mapping[str, object], *, class_: str) -> Html:
    """Return a list of names with their values."""
    items = (element("div", element("dt", k), element("dd", v)) for k, v in facts.items())
    return element("dl", *items, class_=class_)


def _cell(column: int, value: object) -> Html:
    if column == 0:
        return value if isinstance(value, Html) else element("th", value, scope="row")
    if value is None:
        return element("td", "–", data_value=-1, class_="number")
    if isinstance(value, float):
        return element("td", f"{value:.1%}", data_value=f"{value:.6f}", class_="number")
    if isinstance(value, int):
        return element("td", value, data_value=value, class_="number")
    return element("td", value)
