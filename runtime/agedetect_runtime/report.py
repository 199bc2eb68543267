"""Where estimates are written: a table on a terminal, CSV into a pipe, CSV or JSON lines into a file.

CSV is UTF-8 whatever the file names are: a byte that is not UTF-8 becomes \\xNN. JSON lines keep such a name
exactly, as the lone surrogates that Python's os.fsencode turns back into its bytes.
"""

from __future__ import annotations

import csv
import io
import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from agedetect_runtime.errors import AgedetectError
from agedetect_runtime.table import write_table

if TYPE_CHECKING:
    from agedetect_runtime.estimator import Estimate

Write = Callable[["Estimate"], None]

COLUMNS = ("file", "age", "low", "high", "error")
SUFFIXES = (".csv", ".jsonl")


@contextmanager
def report_to(output: Path | None, *, intervals: bool) -> Iterator[Write]:
    """Give the function that writes one estimate: to `output` by its suffix, else to standard output.

    The file appears, whole, when the block ends, and not at all when it raises: until then it is written
    beside its place. Raises AgedetectError where it can't be written.
    """
    if output is None:
        if isinstance(sys.stdout, io.TextIOWrapper):  # an encoding that lacks a letter must not end the job
            encoding = None if sys.stdout.isatty() else "utf-8"
            sys.stdout.reconfigure(encoding=encoding, errors="backslashreplace")
        yield write_table(sys.stdout, intervals) if sys.stdout.isatty() else _csv_rows(sys.stdout)
        return
    write_rows = _json_lines if output.suffix.lower() == ".jsonl" else _csv_rows
    with _replaced(output) as file:
        yield write_rows(file)


def is_report(output: Path) -> bool:
    """Whether the suffix says a format that `report_to` writes."""
    return output.suffix.lower() in SUFFIXES


def valid_text(name: str) -> str:
    """A file name as text that UTF-8 can hold: bytes that were not UTF-8 as \\xNN."""
    return os.fsencode(name).decode("utf-8", "backslashreplace") if _has_surrogates(name) else name


def _csv_rows(file: TextIO) -> Write:
    rows = csv.writer(file, lineterminator="\n")
    rows.writerow(COLUMNS)

    def write(estimate: Estimate) -> None:
        name, *years, error = _values(estimate)
        rows.writerow([valid_text(str(name)), *("" if year is None else year for year in years), error or ""])
        if file is sys.stdout:
            file.flush()  # the reader of a pipe sees each batch as it is done

    return write


def _json_lines(file: TextIO) -> Write:
    def write(estimate: Estimate) -> None:
        file.write(json.dumps(dict(zip(COLUMNS, _values(estimate), strict=True))) + "\n")

    return write


def _values(estimate: Estimate) -> tuple[str | float | None, ...]:
    """The columns' values; years to three decimals, the tolerance of the exporter's parity."""
    years = (estimate.age, estimate.low, estimate.high)
    rounded = (None if year is None else round(year, 3) for year in years)
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
