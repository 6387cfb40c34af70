"""Look at the columns of a CSV that are not used, since they may hold splits or groups."""

from collections.abc import Iterable
from pathlib import Path

from bottleneck.data.sources.files.csv_header import CsvHeader
from bottleneck.data.sources.unused import note_unused
from bottleneck.runtime import format_count

_MOST_VALUES = 8  # of a column of splits, or of zeros and ones
_MOST_SHOWN = 6
_FLAGS = frozenset(("", "0", "1", "0.0", "1.0"))


class UnusedColumns:
    """The values of unused columns, as long as they are few, and the rows that are too long.

    Parameters
    ----------
    header : CsvHeader

    Examples
    --------
    >>> header = CsvHeader(("path", "cat", "dog"), ",", {"path": 0})
    >>> unused = UnusedColumns(header)
    >>> for position, values in ((1, ["1", "0"]), (2, ["0", "1"])):
    ...     unused.add(position, values)
    >>> for remark in unused.remarks(Path("a.csv"), header):
    ...     print(remark[:72])
    columns that are not used: 'cat', 'dog'
    the columns 'cat', 'dog' hold 0 and 1, as those of one class each: write
    """

    def __init__(self, header: CsvHeader) -> None:
        self._values: dict[int, set[str]] = {position: set() for position in header.unused}
        self._long_rows = 0

    @property
    def positions(self) -> list[int]:
        """The columns whose values are still few."""
        return list(self._values)

    def add(self, position: int, values: Iterable[str]) -> None:
        """Note values of a column."""
        known = self._values[position]
        known.update(values)
        if len(known) > _MOST_VALUES:
            del self._values[position]

    def count_long_row(self) -> None:
        """Count a row that has more values than there are columns."""
        self._long_rows += 1

    def remarks(self, path: Path, header: CsvHeader) -> tuple[str, ...]:
        """Return remarks on these columns and rows.

        Parameters
        ----------
        path : Path
            The CSV, for messages.
        header : CsvHeader
            What is used of the columns, now that their values are known.

        Raises
        ------
        ImagesTableError
            There is no column of splits, and another tells them.
        """
        unused = [(header.fields[i], self._values.get(i, set())) for i in header.unused]
        found = [*note_unused(path, "column", unused, has_splits="split" in header.at)]
        flags = [
            repr(name.strip()) for name, values in unused if values - {""} and values <= _FLAGS
        ]
        if "label" not in header.at and len(flags) > 1:
            shown = ", ".join([*flags[:_MOST_SHOWN], *["…"][: len(flags) > _MOST_SHOWN]])
            found.append(
                f"the columns {shown} hold 0 and 1, as those of one class each: write the names of "
                "the classes into one column label, with | between several"
            )
        if self._long_rows:
            rows = format_count(self._long_rows, "row has", "rows have")
            found.append(f"{rows} more values than the first line has columns")
        return tuple(found)
