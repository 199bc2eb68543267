"""Where estimates are written: a table on a terminal, CSV into a pipe, CSV or JSON lines into a file.

A file grows beside its final place (`partfile`) and is moved there when every image has its row. `names` says how
file names are written.
"""

from __future__ import annotations

import csv
import io
import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol

from agedetect_runtime.errors import AgedetectError
from agedetect_runtime.names import name_cell, name_text
from agedetect_runtime.partfile import PartFile, in_one_line
from agedetect_runtime.table import printable, write_table
from agedetect_runtime.terminal import print_any_text

if TYPE_CHECKING:
    from agedetect_runtime.estimate import Result

Write = Callable[["Result"], None]

SUFFIXES = (".csv", ".jsonl")


class Rows(Protocol):
    """Takes one row per call, line ending included."""

    def write(self, row: str, /) -> object: ...


class Format(NamedTuple):
    """How rows are written, and read again from the file of an interrupted job."""

    heading: str
    write_to: Callable[[Rows], Write]
    name: Callable[[str], str]
    read: Callable[[str], tuple[str, str | None]]  # a row's name, as `name` gives it, and its error
    is_whole: Callable[[bytes], bool]  # whether lines are a whole row, not only the beginning of one


@dataclass(frozen=True)
class Report:
    """`write` takes the results of `missing`, the paths that have no row yet.

    `done_before` rows come from the job that is resumed, `failed_before` of them without an age.
    """

    write: Write
    missing: Iterator[str]
    done_before: int = 0
    failed_before: int = 0


@contextmanager
def report_to(
    output: Path | None,
    paths: Iterable[str] = (),
    *,
    coverage: float | None = None,
    at_least: int | None = None,
    metadata: Mapping[str, object] | None = None,
    resume: bool = False,
) -> Iterator[Report]:
    """Report on `paths`: to `output` in the format of its suffix, else to standard output.

    `coverage` is the nominal coverage of the intervals, where there are any. `at_least` adds a column with the
    probability of that age or more; the results must have probabilities.

    The file appears, whole, when the block ends. When the block raises, its rows stay in NAME.part, and a report with
    `resume`, the same `metadata` and the same `paths` continues after them. Raises AgedetectError where the file
    can't be written or resumed.
    """
    if output is None:
        yield Report(_to_standard_output(coverage, at_least), iter(paths))
        return
    form = (_json_lines if output.suffix.lower() == ".jsonl" else _csv)(at_least)
    with PartFile(output, form.heading, form.is_whole) as part:
        missing, done, failed = iter(paths), 0, 0
        if part.begin_or_resume(metadata or {}, resume=resume):
            done, failed = _skip(part, missing, form)
        yield Report(form.write_to(part), missing, done, failed)
        part.finish()


def is_report(output: Path) -> bool:
    """Whether the suffix is one of a format that `report_to` writes."""
    return output.suffix.lower() in SUFFIXES


def _skip(part: PartFile, paths: Iterator[str], form: Format) -> tuple[int, int]:
    """Take from `paths` those that have a row; how many, and how many of them failed.

    Rows and paths are compared one by one: nothing has to be remembered, and ten million rows take a minute.
    """
    done = failed = 0
    for row in part.rows():
        try:
            name, error = form.read(row)
        except (ValueError, LookupError, TypeError, csv.Error) as cause:
            raise part.refusal(f"its row {done + 1} is damaged") from cause
        path = next(paths, None)
        if path is None or form.name(path) != name:
            now = "there is none" if path is None else f"it is {printable(path)}"
            raise part.refusal(
                f"its image {done + 1} is {printable(name)}, now {now}: new images may only be added at the end"
            )
        done += 1
        failed += bool(error)
    part.cut()
    return done, failed


def _csv(at_least: int | None) -> Format:
    def write_to(rows: Rows) -> Write:
        def write(result: Result) -> None:
            name, *numbers, error = _values(result, at_least)
            cells = ("" if number is None else number for number in numbers)
            rows.write(_csv_row([name_cell(str(name)), *cells, error or ""]))

        return write

    def read(row: str) -> tuple[str, str]:
        (cells,) = csv.reader(io.StringIO(row, newline=""), strict=True)
        return cells[0], cells[-1]

    # A line ending inside quotes belongs to a name; quotes in a name are doubled.
    return Format(_csv_row(_columns(at_least)), write_to, name_cell, read, lambda lines: lines.count(b'"') % 2 == 0)


def _csv_row(cells: Iterable[object]) -> str:
    row = io.StringIO()
    csv.writer(row, lineterminator="\r\n").writerow(cells)  # with "\n", Python 3.11 leaves a lone "\r" unquoted
    return row.getvalue()[:-2] + "\n"


def _json_lines(at_least: int | None) -> Format:
    columns = _columns(at_least)

    def write_to(rows: Rows) -> Write:
        def write(result: Result) -> None:
            name, *others = _values(result, at_least)
            values = dict(zip(columns, (name_text(str(name)), *others), strict=True))
            rows.write(json.dumps(values) + "\n")

        return write

    def read(row: str) -> tuple[str, str | None]:
        values = json.loads(row)
        return values["file"], values["error"]

    return Format("", write_to, name_text, read, lambda lines: True)


def _columns(at_least: int | None) -> tuple[str, ...]:
    asked = () if at_least is None else (f"at_least_{at_least}",)
    return ("file", "age", "low", "high", *asked, "error")


def _values(result: Result, at_least: int | None) -> tuple[str | float | None, ...]:
    """The columns' values, to three decimals: in years, the tolerance of the exporter's parity check."""
    asked: tuple[float | None, ...] = ()
    if at_least is not None:
        asked = (result.at_least(at_least) if result.error is None else None,)
    numbers = (result.age, result.low, result.high, *asked)
    rounded = (None if number is None else round(number, 3) for number in numbers)
    return (str(result.source), *rounded, result.error)


def _to_standard_output(coverage: float | None, at_least: int | None) -> Write:
    if sys.stdout is None:
        raise AgedetectError("standard output is closed; choose a file with --output")
    print_any_text()
    if sys.stdout.isatty():
        return write_table(sys.stdout, coverage=coverage, at_least=at_least)
    rows, form = _StandardOutput(), _csv(at_least)
    rows.write(form.heading)
    return form.write_to(rows)


class _StandardOutput:
    def write(self, row: str) -> None:
        """The reader of a pipe sees each row at once. Raises AgedetectError for a full disk."""
        try:
            with in_one_line("standard output"):
                sys.stdout.write(row)
                sys.stdout.flush()
        except AgedetectError:
            # What couldn't be written is still in its buffer, and would fail once more when Python exits.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise
