"""The table on a terminal: aligned, each row as soon as its age is known."""

from __future__ import annotations

import os
import re
import shutil
import unicodedata
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, TextIO

from agedetect_runtime.rows import FaceRow, rows_of

if TYPE_CHECKING:
    from agedetect_runtime.estimate import Result
    from agedetect_runtime.finding import Finding

_ERROR_CELLS = 30  # left free after the ages, so that most reasons fit on the row
_UTKFACE_NAME = re.compile(r"(\d{1,3})_[01]_(?:[0-4]_)?\d{8,}")
_FACE_HEADING = f"{'face':>6} {'width x height':>15} {'at':<12} {'score':<5}"


def write_table(
    file: TextIO, *, coverage: float | None = None, at_least: int | None = None, faces: bool = False
) -> Callable[[Result | Finding], None]:
    """The function that writes the rows of an image, before its first ones the heading.

    Without intervals an age is `34.2`; with them, of nominal coverage `coverage`, it is `34 (27-42)`. `at_least` adds
    the probability of that age, `faces` which face of a photo it is, where and with which score. Where the first
    file is named as UTKFace's are, a column gives the true ages that such names begin with.
    """
    columns = [(_FACE_HEADING, _face)] if faces else []
    columns.append(("age".rjust(7), _age) if coverage is None else (_interval_heading(coverage), _age_and_interval))
    if at_least is not None:
        columns.append((f">={at_least}".rjust(7), partial(_probability, years=at_least)))
    name_cells = 0

    def begin(first: Result | Finding) -> None:
        nonlocal name_cells
        if true_age(str(first.source)) is not None:
            columns.insert(0, (" true", _true_age))
        heading = "".join(title for title, _ in columns)
        name_cells = max(20, min(60, shutil.get_terminal_size().columns - len(heading) - _ERROR_CELLS))
        file.write(f"{'file'.ljust(name_cells)}{heading}".rstrip() + "\n")

    def write(written: Result | Finding) -> None:
        if not name_cells:
            begin(written)
        for row in rows_of(written):
            name = fit(printable(str(row.result.source)), name_cells)
            cells = "".join(cell(row) for _, cell in columns)
            reason = f"  {printable(row.result.error)}" if row.result.error else ""
            file.write(f"{name}{cells}{reason}".rstrip() + "\n")
        file.flush()

    return write


def true_age(path: str) -> int | None:
    """The age that a file named as UTKFace's begins with, AGE_GENDER_RACE_TIME: the race is missing in some."""
    match = _UTKFACE_NAME.match(os.path.basename(path))  # noqa: PTH119 (a Path for each row costs more)
    return int(match[1]) if match else None


def printable(text: str) -> str:
    """Newlines, escapes and bytes that are not text as \\-escapes: a name can't steer the terminal."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def printable_lines(text: str) -> str:
    """The same for text of several lines: they stay lines, and tabs become spaces."""
    return "\n".join(printable(line.expandtabs()) for line in text.splitlines())


def fit(name: str, cells: int) -> str:
    """Pad or clip to so many terminal cells; a clipped name keeps its end, where files of a folder differ."""
    width = sum(map(_cells, name))
    if width <= cells:
        return name + " " * (cells - width)
    left, start = cells - 1, len(name)
    while _cells(name[start - 1]) <= left:
        start -= 1
        left -= _cells(name[start])
    return "…" + name[start:] + " " * left


def _face(row: FaceRow) -> str:
    if row.face is None:
        return f"{'-':>6}".ljust(len(_FACE_HEADING))
    x, y, width, height = (round(length) for length in row.face.box)
    size, at = f"{width} x {height}", f"{x},{y}"
    return f"{row.number:>6} {size:>15} {at:<12} {row.face.score:<5.2f}"


def _true_age(row: FaceRow) -> str:
    age = true_age(str(row.result.source))
    return ("" if age is None else str(age)).rjust(5)


def _age(row: FaceRow) -> str:
    return ("-" if row.result.age is None else f"{row.result.age:.1f}").rjust(7)


def level_text(level: float) -> str:
    """A nominal coverage: `90%`, `99.5%`"""
    return f"{100 * level:.4g}%"


def _interval_heading(coverage: float) -> str:
    level = f"({level_text(coverage)})"
    return f"{'age':>6} {level:<9}"


def _age_and_interval(row: FaceRow) -> str:
    """In whole years, the ages aligned on their last digit.

    Rounding to the nearest year excludes no whole age that the interval contains: the coverage of whole ages stays.
    """
    result = row.result
    age = "-" if result.age is None else str(round(result.age))
    interval = ""
    if result.low is not None and result.high is not None:
        interval = f"({round(result.low)}-{round(result.high)})"
    return f"{age:>6} {interval:<9}"


def _probability(row: FaceRow, years: int) -> str:
    result = row.result
    return ("-" if result.error is not None else f"{result.at_least(years):.2f}").rjust(7)


def _cells(character: str) -> int:
    if unicodedata.combining(character):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1
