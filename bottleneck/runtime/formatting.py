"""Format tables, sizes, durations and names for people."""

import html
from collections.abc import Iterable, Mapping, Sequence


class PreformattedText:
    """A result that notebooks show as the text that it prints.

    Examples
    --------
    >>> class Result(PreformattedText):
    ...     def __str__(self) -> str:
    ...         return "3 < 4"
    >>> Result()._repr_html_()
    '<pre>3 &lt; 4</pre>'
    """

    def _repr_html_(self) -> str:
        return f"<pre>{html.escape(str(self))}</pre>"


def format_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Format columns under a header: the first column to the left, the others to the right.

    Examples
    --------
    >>> print(format_table(["layer", "size"], [["layer3", "256"], ["layer4", "2048"]]))
    layer   size
    layer3   256
    layer4  2048
    """
    lines = [list(header), *(list(row) for row in rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(header))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if i == 0 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )


def format_count(count: int, one: str, many: str = "") -> str:
    """Format a number of things, with the noun for one or for many: by default `one` and an s.

    Examples
    --------
    >>> format_count(1, "image"), format_count(2, "image"), format_count(2, "class", "classes")
    ('1 image', '2 images', '2 classes')
    """
    return f"{count} {one if count == 1 else many or f'{one}s'}"


def format_size(count: float) -> str:
    """Format a number of bytes in powers of 1000.

    Examples
    --------
    >>> format_size(297_000)
    '297 kB'
    """
    for unit in ("B", "kB", "MB", "GB"):
        if count < 999.5:  # which three digits round to 1000
            return f"{count:.3g} {unit}" if unit != "B" else f"{count:.0f} B"
        count /= 1000
    return f"{count:.3g} TB"


def format_duration(seconds: float) -> str:
    """Format a duration in seconds up to two minutes, then in minutes, then in hours.

    Examples
    --------
    >>> format_duration(150)
    '2 min 30 s'
    """
    whole = round(seconds)
    if whole <= 120:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60} min"


def format_shape(shape: Sequence[int]) -> str:
    """Format the shape of an array.

    Examples
    --------
    >>> format_shape((512, 13, 13))
    '512×13×13'
    """
    return "×".join(map(str, shape))


def format_names(names: Sequence[str], most: int = 5) -> str:
    """Format the first of some names, and how many more there are.

    Examples
    --------
    >>> format_names(["ant", "bee", "cat", "dog"], most=2)
    'ant, bee and 2 more'
    """
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return escape_unprintable(", ".join(names[:most])) + more


def format_rejected(reasons: Mapping[str, str], what: str = "rejected", end: str = "") -> list[str]:
    """Format a line for each of the first rejected images, by path, and one that counts the others.

    Examples
    --------
    >>> format_rejected({"a.jpg": "the file is empty"})
    ['rejected: a.jpg: the file is empty']
    """
    first = list(reasons.items())[:10]
    lines = [f"{what}: {escape_unprintable(path)}: {reason}" for path, reason in first]
    more = len(reasons) - len(first)
    return [*lines, f"… and {more} more{end}"] if more else lines


def escape_unprintable(text: str) -> str:
    r"""Escape the characters of a name that would break its line.

    Examples
    --------
    >>> escape_unprintable("a\nb")
    'a\\nb'
    """
    return text if text.isprintable() else repr(text)[1:-1]
