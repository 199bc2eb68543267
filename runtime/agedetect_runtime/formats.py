"""The two formats of a report's file, CSV and JSON lines: how rows are written, and read again to resume."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple, Protocol

from agedetect_runtime.names import name_cell, name_text
from agedetect_runtime.rows import Cells, Layout, rows_of

if TYPE_CHECKING:
    from agedetect_runtime.estimate import Result
    from agedetect_runtime.finding import Finding

Write = Callable[["Result | Finding"], None]


class Rows(Protocol):
    """Takes the rows of one image per call, line endings included."""

    def write(self, rows: Sequence[str], /) -> object: ...


class RowKey(NamedTuple):
    """What resuming reads of a row: the name as `Format.name` gives it, the face's number, the error."""

    name: str
    face: int | None
    error: str | None


class Format(NamedTuple):
    """How rows are written, and read again from the file of an interrupted job."""

    heading: str
    write_to: Callable[[Rows], Write]
    name: Callable[[str], str]
    read: Callable[[str], RowKey]
    is_whole: Callable[[bytes], bool]  # whether lines are a whole row, not only the beginning of one


def csv_format(layout: Layout) -> Format:
    def row_text(cells: Cells) -> str:
        name, *numbers, error = cells
        return _csv_row([name_cell(str(name)), *("" if number is None else number for number in numbers), error or ""])

    def read(row: str) -> RowKey:
        (cells,) = csv.reader(io.StringIO(row, newline=""), strict=True)
        values = dict(zip(layout.columns, cells, strict=True))
        face = values.get("face")
        return RowKey(values["file"], int(face) if face else None, values["error"])

    # A line ending inside quotes belongs to a name; quotes in a name are doubled.
    return Format(
        _csv_row(layout.columns), _writer(layout, row_text), name_cell, read, lambda lines: lines.count(b'"') % 2 == 0
    )


def json_lines_format(layout: Layout) -> Format:
    def row_text(cells: Cells) -> str:
        name, *others = cells
        return json.dumps(dict(zip(layout.columns, (name_text(str(name)), *others), strict=True))) + "\n"

    def read(row: str) -> RowKey:
        values = json.loads(row)
        return RowKey(values["file"], values.get("face"), values["error"])

    return Format("", _writer(layout, row_text), name_text, read, lambda lines: True)


def _writer(layout: Layout, row_text: Callable[[Cells], str]) -> Callable[[Rows], Write]:
    def write_to(rows: Rows) -> Write:
        def write(written: Result | Finding) -> None:
            rows.write([row_text(layout.cells(row)) for row in rows_of(written)])

        return write

    return write_to


def _csv_row(cells: Iterable[object]) -> str:
    row = io.StringIO()
    csv.writer(row, lineterminator="\r\n").writerow(cells)  # with "\n", Python 3.11 leaves a lone "\r" unquoted
    return row.getvalue()[:-2] + "\n"
