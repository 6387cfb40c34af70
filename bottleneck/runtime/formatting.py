"""Tables: text in columns, sizes and names that people can read."""

from collections.abc import Iterable, Sequence


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Columns under a header: the first to the left, the others to the right."""
    lines = [list(header), *(list(row) for row in rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(header))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if i == 0 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )


def size(count: float) -> str:
    """Bytes as people read them, in powers of 1000."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.3g} {unit}" if unit != "B" else f"{count:.0f} B"
        count /= 1000
    return f"{count:.3g} TB"


def duration(seconds: float) -> str:
    """A time as people read it: in seconds up to two minutes, then in minutes, then in hours."""
    whole = round(seconds)
    if whole <= 120:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60} min"


def format_shape(sides: Sequence[int]) -> str:
    """Return a shape as text.

    Examples
    --------
    >>> format_shape((512, 13, 13))
    '512×13×13'
    """
    return "×".join(map(str, sides))


def printable(text: str) -> str:
    """A name that keeps to its line, whatever bytes it holds."""
    return text if text.isprintable() else repr(text)[1:-1]
