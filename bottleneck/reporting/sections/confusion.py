"""The confusion matrix, whose cells open their images."""

import numpy as np

from bottleneck.reporting.findings import Findings
from bottleneck.reporting.html import Html, element
from bottleneck.reporting.judged_pictures import judged_pictures
from bottleneck.reporting.tables import table, table_of_cells

_MOST_CLASSES = 40  # a wider matrix is unreadable: its largest errors are listed instead
_MOST_CELLS = 60  # of that list
_MOST_LISTED = 30  # cells below the matrix; more of them are folded away
_MOST_IMAGES = 12  # of a cell
_SHADES = 6


def render(findings: Findings) -> Html:
    """Return the matrix, or the largest errors of many classes, and the images of each cell."""
    confusion = findings.score.confusion
    k = len(findings.head.classes)
    cells = [(int(true), int(guess)) for true, guess in np.argwhere(confusion)]
    # Mistakes first, the largest first: where bytes are limited, their pictures matter.
    cells.sort(key=lambda cell: (cell[0] == cell[1], -confusion[cell]))
    if k > _MOST_CLASSES:
        cells = [cell for cell in cells if cell[0] != cell[1]][:_MOST_CELLS]
        shown = _largest(findings, cells)
    else:
        shown = _matrix(findings)
    if not cells:
        return element("div", shown, element("p", "No image is taken for another class."))
    hint = element(
        "p",
        "True classes are rows, predicted ones columns; the stronger the colour of a mistake, the "
        "larger its share of the row. Choose a number to see its images, the most confident first.",
    )
    opened = [_images(findings, *cell) for cell in cells]
    found = element("div", *opened, class_="cells")
    if len(cells) > _MOST_LISTED:
        found = element("details", element("summary", f"All {len(cells)} cells"), found)
    return element("div", hint, shown, found)


def _matrix(findings: Findings) -> Html:
    names, confusion = findings.head.classes, findings.score.confusion
    head = [
        element("th", element("span", "true"), " \\ ", element("span", "predicted"), scope="col"),
        *(element("th", name, scope="col") for name in names),
    ]
    shares = confusion / np.maximum(confusion.sum(axis=1, keepdims=True), 1)
    np.fill_diagonal(shares, 0)
    shades = np.ceil(_SHADES * shares / (shares.max() or 1)).astype(int)
    rows = []
    for true, name in enumerate(names):
        cells = [_cell(findings, true, guess, shades[true, guess]) for guess in range(len(names))]
        rows.append([element("th", name, scope="row"), *cells])
    caption = f"Images by true class (row) and predicted class (column), {confusion.sum()} in all"
    return table_of_cells(head, rows, caption=caption, class_="matrix")


def _cell(findings: Findings, true: int, guess: int, shade: int) -> Html:
    if not findings.score.confusion[true, guess]:
        return element("td", element("span", "0", class_="none"))
    kind = "right" if true == guess else f"shade{shade}"
    return element("td", _link(findings, true, guess), class_=kind)


def _largest(findings: Findings, cells: list[tuple[int, int]]) -> Html:
    names = findings.head.classes
    rows = [
        [names[true], names[guess], element("td", _link(findings, true, guess), class_="number")]
        for true, guess in cells
    ]
    caption = f"The {len(cells)} most frequent mistakes among {len(names)} classes"
    return table(["class", "taken for", "images"], rows, caption=caption)


def _link(findings: Findings, true: int, guess: int) -> Html:
    count = int(findings.score.confusion[true, guess])
    names = findings.head.classes
    label = f"{count} of {names[true]} predicted as {names[guess]}"
    return element("a", count, href=f"#cell-{true}-{guess}", aria_label=label)


def _images(findings: Findings, true: int, guess: int) -> Html:
    names = findings.head.classes
    of_cell = (findings.judged.targets == true) & (findings.predicted == guess)
    chosen = np.flatnonzero(of_cell)
    order = chosen[np.argsort(-findings.confidence[chosen], kind="stable")]
    what = f"{names[true]} taken for {names[guess]}" if true != guess else f"{names[true]}, right"
    found = judged_pictures(findings, order[:_MOST_IMAGES].tolist())
    said = f"The {_MOST_IMAGES} most confident of {len(order)} images."
    first = element("p", said, class_="note") if len(order) > _MOST_IMAGES else None
    # The target is inside, so that a link to it opens the details, by the browser itself.
    body = element("div", first, found, id=f"cell-{true}-{guess}")
    summary = element("summary", element("b", what), f" · {len(order)}")
    return element("details", summary, body, name="cell")
