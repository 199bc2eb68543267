"""Where estimates are written: a table on a terminal, CSV into a pipe, CSV, JSON lines, JSON or Parquet into a file.

A file grows beside its final place (`partfile`) and is moved there when every image has its rows. `rows` says what is
in them, `formats` and `conversion` how they are written, and `names` how file names are.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from agedetect_runtime.conversion import JsonArray, require_pyarrow, write_json, write_parquet
from agedetect_runtime.errors import AgedetectError
from agedetect_runtime.formats import Write, csv_format, json_lines_format
from agedetect_runtime.partfile import PartFile, in_one_line
from agedetect_runtime.resuming import Skipped, skip
from agedetect_runtime.rows import Layout, layout
from agedetect_runtime.table import write_table
from agedetect_runtime.terminal import print_any_text

# What becomes of the JSON lines that the last two are while they grow; None where they stay.
FORMATS = {"csv": None, "jsonl": None, "json": write_json, "parquet": write_parquet}


@dataclass(frozen=True)
class Report:
    """`write` takes the results, or findings, of `missing`, the paths that have no row yet.

    `done_before` images have rows of the job that is resumed, `failed_before` of them one with an error; these rows
    have `faces_before` found faces.
    """

    write: Write
    missing: Iterator[str]
    done_before: int = 0
    failed_before: int = 0
    faces_before: int = 0


@contextmanager
def report_to(
    output: Path | None,
    paths: Iterable[str] = (),
    *,
    form: str | None = None,
    coverage: float | None = None,
    at_least: int | None = None,
    metadata: Mapping[str, object] | None = None,
    resume: bool = False,
    faces: bool = False,
) -> Iterator[Report]:
    """Report on `paths`: to `output`, else to standard output.

    `form` is one of FORMATS. By default it is the output's suffix, and on standard output CSV, or a table where that
    is a terminal. `coverage` is the nominal coverage of the intervals, where there are any. `at_least` adds a column
    with the probability of that age or more; the results must have probabilities. With `faces` the report is one of
    findings, and each face has a row.

    The file appears, whole, when the block ends. When the block raises, its rows stay in NAME.part, and a report with
    `resume`, the same `metadata` and the same `paths` continues after them. Raises AgedetectError where the file
    can't be written or resumed, and for Parquet without pyarrow.
    """
    columns = layout(at_least, faces=faces)
    if output is None and form is None and sys.stdout is not None and sys.stdout.isatty():
        print_any_text()
        yield Report(write_table(sys.stdout, coverage=coverage, at_least=at_least, faces=faces), iter(paths))
        return
    if output is None:
        with _to_standard_output(columns, form or "csv") as write:
            yield Report(write, iter(paths))
        return
    kind = format_of(output, form) or "csv"
    if kind == "parquet":
        require_pyarrow(output)
    convert = FORMATS[kind]
    grown = csv_format(columns) if kind == "csv" else json_lines_format(columns)
    with PartFile(output, grown.heading, grown.is_whole) as part:
        skipped = Skipped(iter(paths), 0, 0, 0)
        if part.begin_or_resume(metadata or {}, resume=resume):
            skipped = skip(part, skipped.missing, grown, faces=faces)
        yield Report(grown.write_to(part), *skipped)
        part.finish(convert and partial(convert, columns=columns.columns))


def format_of(output: Path, form: str | None = None) -> str | None:
    """`form`, or the one that the suffix names; None where it names none of FORMATS."""
    suffix = output.suffix[1:].lower()
    return form or (suffix if suffix in FORMATS else None)


@contextmanager
def _to_standard_output(columns: Layout, form: str) -> Iterator[Write]:
    if sys.stdout is None:
        raise AgedetectError("standard output is closed; choose a file with --output")
    print_any_text()
    rows = _StandardOutput()
    if form == "json":
        array = JsonArray(rows)
        yield json_lines_format(columns).write_to(array)
        array.finish()
        return
    lines = csv_format(columns) if form == "csv" else json_lines_format(columns)
    rows.write(lines.heading)
    yield lines.write_to(rows)


class _StandardOutput:
    def write(self, rows: Sequence[str]) -> None:
        """The reader of a pipe sees an image's rows at once. Raises AgedetectError for a full disk."""
        try:
            with in_one_line("standard output"):
                sys.stdout.write("".join(rows))
                sys.stdout.flush()
        except AgedetectError:
            # What couldn't be written is still in its buffer, and would fail once more when Python exits.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise
