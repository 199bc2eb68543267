"""Where estimates are written: a table on a terminal, CSV into a pipe, CSV or JSON lines into a file.

CSV is UTF-8 whatever the file names are: a byte that is not UTF-8 becomes \\xNN. JSON lines keep such a name
exactly, as the lone surrogates that Python's os.fsencode turns back into its bytes.
"""

from __future__ import annotations

import csv
import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from agedetect_runtime.errors import AgedetectError
from agedetect_runtime.table import write_table
from agedetect_runtime.terminal import print_any_text

if TYPE_CHECKING:
    from agedetect_runtime.estimator import Estimate

Write = Callable[["Estimate"], None]

SUFFIXES = (".csv", ".jsonl")


@contextmanager
def report_to(output: Path | None, *, coverage: float | None = None, at_least: int | None = None) -> Iterator[Write]:
    """Give the function that writes one estimate: to `output` by its suffix, else to standard output.

    `coverage` is the level of the intervals, where there are any; `at_least` the age whose probability is asked
    for, which gets a column of its own.

    The file appears, whole, when the block ends, and not at all when it raises: until then it is written
    beside its place. Raises AgedetectError where it can't be written.
    """
    if output is None:
        print_any_text()
        if sys.stdout.isatty():
            yield write_table(sys.stdout, coverage=coverage, at_least=at_least)
        else:
            yield _csv_rows(sys.stdout, at_least)
        return
    write_rows = _json_lines if output.suffix.lower() == ".jsonl" else _csv_rows
    with _replaced(output) as file:
        yield write_rows(file, at_least)


def is_report(output: Path) -> bool:
    """Whether the suffix says a format that `report_to` writes."""
    return output.suffix.lower() in SUFFIXES


def valid_text(name: str) -> str:
    """A file name as text that UTF-8 can hold: bytes that were not UTF-8 as \\xNN."""
    return os.fsencode(name).decode("utf-8", "backslashreplace") if _has_surrogates(name) else name


def _columns(at_least: int | None) -> tuple[str, ...]:
    asked = () if at_least is None else (f"at_least_{at_least}",)
    return ("file", "age", "low", "high", *asked, "error")


def _csv_rows(file: TextIO, at_least: int | None) -> Write:
    rows = csv.writer(file, lineterminator="\n")
    rows.writerow(_columns(at_least))

    def write(estimate: Estimate) -> None:
        name, *numbers, error = _values(estimate, at_least)
        cells = ("" if number is None else number for number in numbers)
        rows.writerow([valid_text(str(name)), *cells, error or ""])
        if file is sys.stdout:
            file.flush()  # the reader of a pipe sees each batch as it is done

    return write


def _json_lines(file: TextIO, at_least: int | None) -> Write:
    columns = _columns(at_least)

    def write(estimate: Estimate) -> None:
        file.write(json.dumps(dict(zip(columns, _values(estimate, at_least), strict=True))) + "\n")

    return write


def _values(estimate: Estimate, at_least: int | None) -> tuple[str | float | None, ...]:
    """The columns' values; three decimals, of years the tolerance of the exporter's parity."""
    asked = () if at_least is None else (estimate.at_least,)
    numbers = (estimate.age, estimate.low, estimate.high, *asked)
    rounded = (None if number is None else round(number, 3) for number in numbers)
    return (str(estimate.source), *rounded, estimate.error)


@contextmanager
def _replaced(path: Path) -> Iterator[TextIO]:
    place = path.resolve()  # a link stays a link
    beside = place.with_name(f".{place.name[:200]}.{os.getpid()}.part")
    try:
        with beside.open("w", encoding="utf-8", newline="") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        beside.replace(place)
    except BrokenPipeError:  # not this file's: a pipe that the block itself writes to
        raise
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise AgedetectError(f"{path}: cannot be written: {reason}") from error
    finally:
        with suppress(OSError):
            beside.unlink()


def _has_surrogates(name: str) -> bool:
    return any("\ud800" <= character <= "\udfff" for character in name)
