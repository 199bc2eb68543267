"""Where estimates are written: a table on a terminal, CSV into a pipe, CSV or JSON lines into a file.

A file grows beside its final place (`partfile`) and is moved there when every image has its rows. `rows` says what is
in them, `formats` how they are written, and `names` how file names are.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from agedetect_runtime.errors import AgedetectError
from agedetect_runtime.formats import Write, csv_format, json_lines_format
from agedetect_runtime.partfile import PartFile, in_one_line
from agedetect_runtime.resuming import Skipped, skip
from agedetect_runtime.rows import layout
from agedetect_runtime.table import write_table
from agedetect_runtime.terminal import print_any_text

SUFFIXES = (".csv", ".jsonl")


@dataclass(frozen=True)
class Report:
    """`write` takes the results, or findings, of `missing`, the paths that have no row yet.

    `done_before` images have rows of the job that is resumed, `failed_before` of them one with an error.
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
    faces: bool = False,
) -> Iterator[Report]:
    """Report on `paths`: to `output` in the format of its suffix, else to standard output.

    `coverage` is the nominal coverage of the intervals, where there are any. `at_least` adds a column with the
    probability of that age or more; the results must have probabilities. With `faces` the report is one of findings,
    and each face has a row.

    The file appears, whole, when the block ends. When the block raises, its rows stay in NAME.part, and a report with
    `resume`, the same `metadata` and the same `paths` continues after them. Raises AgedetectError where the file
    can't be written or resumed.
    """
    if output is None:
        yield Report(_to_standard_output(coverage, at_least, faces), iter(paths))
        return
    columns = layout(at_least, faces=faces)
    form = json_lines_format(columns) if output.suffix.lower() == ".jsonl" else csv_format(columns)
    with PartFile(output, form.heading, form.is_whole) as part:
        skipped = Skipped(iter(paths), 0, 0)
        if part.begin_or_resume(metadata or {}, resume=resume):
            skipped = skip(part, skipped.missing, form, faces=faces)
        yield Report(form.write_to(part), *skipped)
        part.finish()


def is_report(output: Path) -> bool:
    """Whether the suffix is one of a format that `report_to` writes."""
    return output.suffix.lower() in SUFFIXES


def _to_standard_output(coverage: float | None, at_least: int | None, faces: bool) -> Write:
    if sys.stdout is None:
        raise AgedetectError("standard output is closed; choose a file with --output")
    print_any_text()
    if sys.stdout.isatty():
        return write_table(sys.stdout, coverage=coverage, at_least=at_least, faces=faces)
    rows, form = _StandardOutput(), csv_format(layout(at_least, faces=faces))
    rows.write([form.heading])
    return form.write_to(rows)


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
